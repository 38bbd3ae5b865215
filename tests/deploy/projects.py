"""Vivado projects of the known boards around small engines, run against the recorder."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from fpga_gen.boards import Board
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy.vivado_project import vivado_files
from fpga_gen.generated import engine_verilog
from fpga_gen.hardware.top import TOP
from tests.deploy.tcl import Recording, record
from tests.engines import SMALL
from tests.schedule.builder import DOUBLE_CLOCK


def small_engine(board: Board, double_clock: bool = False) -> EngineParams:
    """A small engine with the AXI pins of a board's."""
    small = DOUBLE_CLOCK if double_clock else replace(SMALL, in_channels=16)
    return replace(small, ports=board.array.ports)


@cache
def verilog(engine: EngineParams) -> dict[str, str]:
    return engine_verilog(engine)


def pins(engine: EngineParams) -> dict[str, str]:
    """{pin of the top module: input or output}, from the Verilog."""
    text = verilog(engine)[f"{TOP}.v"]
    body = text[text.index(f"\nmodule {TOP}(") :]
    names = re.sub(r"\s", "", body[body.index("(") + 1 : body.index(")")]).split(",")
    found = dict(
        (name, way)
        for way, name in re.findall(r"^  (input|output) (?:\[\d+:0\] )?(\w+);", body, re.MULTILINE)
    )
    return {name: found[name] for name in names}


def write_project(folder: Path, board: Board, engine: EngineParams) -> Path:
    for name, text in verilog(engine).items():
        (folder / "rtl").mkdir(exist_ok=True)
        (folder / "rtl" / name).write_text(text)
    for name, data in vivado_files(board, engine, board.clock_mhz, verilog(engine)).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "vivado" / "build.tcl"


def run(
    folder: Path, board: Board, fail: str = "", *, engine: EngineParams | None = None
) -> Recording:
    """The scripts of a build for `engine`, by default a small one."""
    engine = engine or small_engine(board)
    return record(folder, write_project(folder, board, engine), list(pins(engine)), fail)
