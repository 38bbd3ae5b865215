"""`make pnr`: what it says without the tool, the wrapper of a block, the tool's report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import place_and_route as pnr
from fpga_gen.errors import ToolError
from fpga_gen.hardware.array.mac_dsp import MODULE, DspPairChain
from fpga_gen.hardware.common.leaf import emit_leaf

ROOT = Path(__file__).parents[2]


def report(delay: float = 1.5) -> dict:
    """A report as the tool writes it, made up for this test: a clock, its worst path, a crossing
    and a path to a pin."""

    def path(start: str, end: str, *parts: tuple[str, float]) -> dict:
        cells = [{"cell": f"cell{n}", "port": "O", "loc": [n, 0]} for n in range(len(parts) + 1)]
        return {
            "from": start,
            "to": end,
            "path": [
                {"type": kind, "delay": ns, "from": cells[n], "to": cells[n + 1]}
                for n, (kind, ns) in enumerate(parts)
            ],
        }

    clock = "posedge clk"
    return {
        "fmax": {"clk": {"achieved": 203.5, "constraint": 150.0}},
        "critical_paths": [
            path(clock, clock, ("clk-to-q", 0.5), ("routing", delay), ("logic", 0.2),
                 ("routing", 1.0), ("setup", 0.1)),
            path(clock, "<async>", ("clk-to-q", 0.5), ("routing", 9.0)),
        ],
        "utilization": {"SLICE_LUTX": {"used": 40, "available": 53200},
                        "BUFGCTRL": {"used": 0, "available": 32}},
    }  # fmt: skip


def fake_tool(folder: Path, body: str) -> Path:
    """The program, which does what `body` says."""
    program = folder / pnr.PROGRAM
    program.write_text(f"#!{sys.executable}\nimport json, sys\n{body}\n")
    program.chmod(0o755)
    return program


def test_it_is_skipped_with_one_line(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    assert "is not on PATH" in str(pnr.missing(environment))
    fake_tool(tmp_path, "")
    assert pnr.DATABASE in str(pnr.missing(environment))
    environment[pnr.DATABASE] = str(tmp_path / "chip.bin")
    assert "is no file" in str(pnr.missing(environment))
    (tmp_path / "chip.bin").write_bytes(b"")
    assert pnr.missing(environment) is None


def test_the_command_without_the_tool(tmp_path: Path) -> None:
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-m", "bench.place_and_route"], cwd=ROOT, capture_output=True, text=True,
        env={"PATH": str(tmp_path), "PYTHONPATH": path, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pnr: skipped, ")
    assert done.stdout.count("\n") == 1


def test_ports_of_both_styles() -> None:
    text = emit_leaf(DspPairChain(4), MODULE)
    assert pnr.ports_of(text) == {
        "act": ("input", 32), "weights": ("input", 104), "switch": ("input", 2),
        "dot0": ("output", 20), "dot1": ("output", 20), "clk": ("input", 1), "rst": ("input", 1),
    }  # fmt: skip
    template = "module a (\n    input  wire clk,\n    output wire [7:0] r_data\n);\nendmodule"
    assert pnr.ports_of(template) == {"clk": ("input", 1), "r_data": ("output", 8)}


def test_its_report() -> None:
    routed = pnr.parse_report("block", report())
    assert routed == pnr.Routed("block", 203.5, "cell0", "cell5", 0.8, 2.5, {"SLICE_LUTX": 40})


def test_a_report_without_a_clock_is_an_error() -> None:
    empty = report() | {"critical_paths": []}
    with pytest.raises(ToolError, match="block: the report names no clock"):
        pnr.parse_report("block", empty)


def test_the_tool_is_called_and_its_failure_told(tmp_path: Path) -> None:
    recorded = json.dumps(report(2.0))
    body = "json.dump(sys.argv, open('arguments.json', 'w'))\n"
    body += f"open('report.json', 'w').write({recorded!r})"
    program = fake_tool(tmp_path, body)
    found = pnr.place_and_route(str(program), "xc7z020clg400-1", "chip.bin", tmp_path)
    assert pnr.parse_report("block", found).wires_ns == 3.0
    arguments = json.loads((tmp_path / "arguments.json").read_text())
    assert arguments[1:5] == ["--device", "xc7z020clg400-1", "--chipdb", "chip.bin"]
    assert "get_ports bit_out" in (tmp_path / "pins.xdc").read_text()
    program = fake_tool(tmp_path, "sys.exit('ERROR: no place')")
    with pytest.raises(ToolError, match="no place"):
        pnr.place_and_route(str(program), "xc7z020clg400-1", "chip.bin", tmp_path)


def test_the_page() -> None:
    """What is committed is what the program writes, with a table or without one."""
    text = (ROOT / "docs" / "place-and-route.md").read_text()
    assert text.startswith(pnr.INTRODUCTION)
    slow = pnr.parse_report("slow", report())
    fast = pnr.Routed("fast", 300.0, "a", "b", 1.0, 1.0, {"LUT": 1000})
    rows = pnr.page([fast, slow]).splitlines()[-2:]
    assert rows[0] == "| slow | 204 | 0.80 | 2.50 | `cell0` | `cell5` | 40 SLICE_LUTX |"
    assert rows[1].endswith("| 1,000 LUT |")
