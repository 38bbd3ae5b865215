"""Vivado projects of the known boards around small engines, run against the recorder."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from amaranth.hdl._ir import PortDirection

from fpga_gen.boards import Board
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy.vivado_project import vivado_files
from fpga_gen.generated import engine_verilog
from fpga_gen.hardware.top import CONTROL_FILE, TOP, Top
from tests.deploy.tcl import Recording, record
from tests.engines import SMALL
from tests.schedule.builder import DOUBLE_CLOCK

# Names of files in rtl/: a project lists them, and nobody reads them here.
SOURCES = ("leaf.v", f"{TOP}.v", CONTROL_FILE)


def small_engine(board: Board, double_clock: bool = False) -> EngineParams:
    """A small engine with the AXI pins of a board's."""
    small = DOUBLE_CLOCK if double_clock else replace(SMALL, in_channels=16)
    return replace(small, ports=board.array.ports)


@cache
def verilog(engine: EngineParams) -> dict[str, str]:
    return engine_verilog(engine)


def pins(engine: EngineParams) -> dict[str, str]:
    """{pin of the top module: input or output}; rtl_tests/test_top.py holds the Verilog to them."""
    top = Top(engine)
    top._MustUse__silence = True  # only asked
    ways = {PortDirection.Input: "input", PortDirection.Output: "output"}
    return {name: ways[way] for name, (_, way) in top.ports().items()}


def write_project(folder: Path, board: Board, engine: EngineParams) -> Path:
    (folder / "rtl").mkdir(exist_ok=True)
    for name in SOURCES:
        (folder / "rtl" / name).touch()
    for name, data in vivado_files(board, engine, board.clock_mhz, SOURCES).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "vivado" / "build.tcl"


def run(
    folder: Path, board: Board, fail: str = "", *, engine: EngineParams | None = None
) -> Recording:
    """The scripts of a build for `engine`, by default a small one."""
    engine = engine or small_engine(board)
    return record(folder, write_project(folder, board, engine), list(pins(engine)), fail)
