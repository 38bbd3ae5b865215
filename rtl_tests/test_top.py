"""The generated Verilog: deterministic, free of lint, with the documented pins and modules."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from amaranth.lib.wiring import In

from fpga_gen.contract import modules
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array import mac_array
from fpga_gen.hardware.common import design_hash
from fpga_gen.hardware.results import maxpool, requantise
from fpga_gen.hardware.shell import axi_names
from fpga_gen.hardware.top import CONTROL_FILE, TOP, generate_verilog
from fpga_gen.simulate.build import lint
from fpga_gen.simulate.pins import pins_header
from fpga_gen_host.registers import REGISTERS
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES

pytestmark = pytest.mark.timeout(900)

ENGINES = {"two-modes": SMALL, "three-modes": THREE_MODES}
PRINT_DIGESTS = """
import hashlib
from tests.engines import SMALL
from fpga_gen.hardware.top import generate_verilog
for name, text in generate_verilog(SMALL).items():
    print(name, hashlib.sha256(text.encode()).hexdigest())
"""
PORT = re.compile(r"^\s*(input|output)\s+(?:wire|reg)?\s*(?:\[(\d+):0\]\s*)?(\w+)\s*;", re.M)
MODULE = re.compile(r"^module \\?([\w.$]+)", re.M)
INSTANCE = re.compile(r"^  \\?([\w.$]+)\s+(?:#\([^;]*?\)\s*)?\\?[\w.$\[\]]+ +\(\n", re.M)


@cache
def generated(params: EngineParams) -> dict[str, str]:
    return generate_verilog(params)


@pytest.fixture(params=ENGINES)
def verilog(request) -> tuple[EngineParams, dict[str, str]]:
    params = ENGINES[request.param]
    return params, generated(params)


def digests(files: dict[str, str]) -> list[str]:
    return [f"{n} {hashlib.sha256(text.encode()).hexdigest()}" for n, text in files.items()]


def test_deterministic() -> None:
    """Byte for byte: twice in this process, and in a fresh one whose sets have another order."""
    first = generated(SMALL)
    assert generate_verilog(SMALL) == first
    fresh = subprocess.run(
        [sys.executable, "-c", PRINT_DIGESTS],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert fresh == [
        f"{name} {hashlib.sha256(text.encode()).hexdigest()}" for name, text in first.items()
    ]


def test_design_hash() -> None:
    """All 64 bits, in a file of its own and nowhere else; 0 until it is stamped."""
    files = generated(SMALL)
    other = design_hash.stamp(files, 0xFEDC_BA98_7654_3210)
    assert [name for name in files if files[name] != other[name]] == [design_hash.FILE]
    assert "assign value = 64'hfedcba9876543210;" in other[design_hash.FILE]
    assert design_hash.stamp(other, 0) == files


def test_no_absolute_paths(verilog) -> None:
    """Nothing of the machine that generates it."""
    for text in verilog[1].values():
        assert "/home" not in text
        assert str(Path.cwd()) not in text
        assert "src =" not in text


def test_lint(verilog, tmp_path) -> None:
    for name, text in verilog[1].items():
        (tmp_path / name).write_text(text)
    assert lint(tmp_path, TOP) == []


def test_lint_would_complain(tmp_path) -> None:
    """The waivers leave real findings: an undriven wire in the top module."""
    for name, text in generated(SMALL).items():
        (tmp_path / name).write_text(text)
    top = tmp_path / f"{TOP}.v"
    spoilt = top.read_text().replace(
        "endmodule", "  wire undriven;\n  wire reader = undriven;\nendmodule", 1
    )
    top.write_text(spoilt)
    assert any("UNDRIVEN" in line for line in lint(tmp_path, TOP))


def test_files_and_modules(verilog) -> None:
    """One file per distinct leaf, named after its module; every module is defined once and used."""
    _, files = verilog
    assert list(files) == [*sorted(f for f in files if f != CONTROL_FILE), CONTROL_FILE]
    # A file may hold two forms of a module, of which the preprocessor takes one.
    defined = [name for text in files.values() for name in set(MODULE.findall(text))]
    assert len(defined) == len(set(defined))
    twice = [
        n
        for n, text in files.items()
        if len(MODULE.findall(text)) != len(set(MODULE.findall(text)))
    ]
    assert all("`else" in files[name] for name in twice)
    for name, text in files.items():
        if name != CONTROL_FILE:
            assert name.removesuffix(".v") in MODULE.findall(text)
    leaves = {
        TOP, mac_array.MODULE, maxpool.MODULE, requantise.MODULE, modules.BANK,
        design_hash.MODULE,
    }  # fmt: skip
    assert leaves <= set(defined)
    used = {name for text in files.values() for name in INSTANCE.findall(text)}
    assert used - set(defined) <= {"DSP48E2"}, "instances of modules that nobody defines"
    assert set(defined) - used == {TOP}, "modules that nobody instantiates"


def test_leaf_counts(verilog) -> None:
    """A requantiser per column, a bank per lane, a MAC column and a sum per column and pixel."""
    params, files = verilog
    top, array = files[f"{TOP}.v"], files[f"{mac_array.MODULE}.v"]

    def count(text: str, module: str) -> int:
        return len([name for name in INSTANCE.findall(text) if name == module])

    assert count(top, requantise.MODULE) == params.columns
    assert count(top, modules.BANK) == params.banks
    assert count(top, mac_array.MODULE) == count(top, maxpool.MODULE) == 1
    macs = params.pixels * params.dsp_columns // 2, params.pixels * params.sp2_columns
    assert (count(array, "mac_dsp_pair"), count(array, "mac_sp2_column")) == macs
    sums = [name.removesuffix(".v") for name in files if name.startswith("accumulators_")]
    columns = sum(int(name.split("_")[1]) * count(array, name) for name in sums)
    assert columns == params.pixels * params.columns


def test_pins(verilog) -> None:
    """The ports of the Verilog are those of the name table, with their widths and directions."""
    params, files = verilog
    text = re.search(rf"^module {TOP}\(.*?^endmodule", files[f"{TOP}.v"], re.M | re.S).group()
    found = {name: (way, int(high or 0) + 1) for way, high, name in PORT.findall(text)}
    members = axi_names.axi_members(params.ports)
    expected = {
        name: ("input" if m.flow is In else "output", m.shape) for name, m in members.items()
    }
    assert found == {
        **expected, "clk": ("input", 1), "rst": ("input", 1), "debug_layer": ("output", 16),
    }  # fmt: skip
    # The simulation shell finds all it needs among them.
    assert TOP in pins_header({name: width for name, (_, width) in found.items()}, TOP)


def test_registers_fit_the_window(verilog) -> None:
    """The AXI4-Lite address reaches every register of the table."""
    params, _ = verilog
    width = axi_names.axi_members(params.ports)["s_axi_araddr"].shape
    assert max(entry.offset for entry in REGISTERS) < 1 << width
