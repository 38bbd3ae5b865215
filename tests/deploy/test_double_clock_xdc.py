"""double_clock.xdc against the Verilog that synthesis reads: it names the paths that have more than
one fast cycle and no others. How many cycles they have: rtl_tests/test_fast_paths.py."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from fpga_gen.contract.column_kinds import DSP_KIND
from fpga_gen.deploy.vivado_project import CONSTRAINTS, TCL_FOLDER
from fpga_gen.hardware.array.mac_double import MODULE
from tests.deploy.projects import verilog
from tests.deploy.tcl import INTERPRETER
from tests.deploy.xdc import netlist, path_exceptions
from tests.schedule.builder import DOUBLE_CLOCK

BLOCKS = DOUBLE_CLOCK.pixels * DOUBLE_CLOCK.dsp_columns // DSP_KIND.block(DOUBLE_CLOCK)
SLICES = BLOCKS * DOUBLE_CLOCK.in_channels


def leaf() -> str:
    """What synthesis reads of the four columns."""
    return verilog(DOUBLE_CLOCK)[f"{MODULE}.v"].partition("`else\n")[2]


def test_exceptions_reach_what_they_name_and_nothing_else():
    pins, registers = netlist(verilog(DOUBLE_CLOCK))
    assert (
        len([r for r in registers if re.search(r"/phase_\d+/seen_reg$", r)]) == DOUBLE_CLOCK.pixels
    )
    found = path_exceptions()
    assert set(found) == {"activations", "weights", "taps"}

    b = found["activations"].names(pins)
    assert len(b) == SLICES * 18
    assert all(re.search(r"/mac_array/dsp_\d+_\d+_\d+/mac\d+/B\[\d+\]$", name) for name in b)
    ad = found["weights"].names(pins)
    assert len(ad) == SLICES * (30 + 27)
    assert all(re.search(r"/mac_array/dsp_\d+_\d+_\d+/mac\d+/[AD]\[\d+\]$", name) for name in ad)
    taps = found["taps"].names(registers)
    assert len(taps) == BLOCKS
    assert all(re.search(r"/mac_array/dsp_\d+_\d+_\d+/tap0_reg$", name) for name in taps)


def test_every_way_into_the_columns_is_named():
    """From the engine's clock only activations, weights and the switch enter, by these pins."""
    text = leaf()
    inputs = set(re.findall(r"^  input (?:\[\d+:0\] )?(\w+);", text, re.M))
    assert inputs == {"act", "weights", "switch", "second", "clk", "fast_clk", "rst"}
    uses = {
        name: [line.strip() for line in text.splitlines() if re.search(rf"\b{name}\b", line)][3:]
        for name in ("act", "weights", "switch")
    }
    assert len(uses["act"]) == DOUBLE_CLOCK.in_channels
    assert all(line.startswith(".B(") for line in uses["act"])
    assert len(uses["weights"]) == 2 * DOUBLE_CLOCK.in_channels
    assert all(line.startswith((".A(", ".D(")) for line in uses["weights"])
    ((gate,),) = (uses["switch"],)
    (wire,) = re.findall(r"assign (\\\S+)\s+= switch & second_half_0;", gate)
    sinks = [line.strip() for line in text.splitlines() if f"{wire} ;" in line]
    assert [s for s in sinks if "<=" in s or "." in s] == [f"tap0 <= {wire} ;"]


def test_hold_is_checked_at_the_edge_of_launch():
    for name, paths in path_exceptions().items():
        assert paths.hold == paths.setup - 1, name


def test_tcl_reads_the_file(tmp_path: Path):
    script = tmp_path / "read.tcl"
    script.write_text(
        "foreach name {get_pins get_cells} {\n"
        "    proc $name {args} {return [lindex $args end]}\n"
        "}\n"
        'proc get_ports {name} {return "port $name"}\n'
        "proc get_clocks {option port} {return [list $option $port]}\n"
        "proc set_multicycle_path {args} {puts [join $args ,]}\n"
        f"source {{{TCL_FOLDER / CONSTRAINTS}}}\n"
    )
    done = subprocess.run([INTERPRETER, str(script)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert not done.stderr
    wanted = [
        f"{count},-{check},-end,-from,-of_objects {{port clk}},{e.way},"
        for e in path_exceptions().values()
        for check, count in (("setup", e.setup), ("hold", e.hold))
    ]
    for line, beginning in zip(lines, wanted, strict=True):
        assert line.startswith(beginning)
