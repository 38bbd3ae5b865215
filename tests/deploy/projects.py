"""Vivado projects of the known boards around small engines, run against the recorder."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from fpga_gen.boards import Board
from fpga_gen.deploy.vivado_project import vivado_files
from fpga_gen.hardware.params import SMALL
from fpga_gen.hardware.top import TOP, generate_verilog
from tests.deploy.tcl import Recording, record


@cache
def verilog(ports: int) -> dict[str, str]:
    """A small engine with the AXI pins of a board's."""
    return generate_verilog(replace(SMALL, in_channels=16, ports=ports))


def pins(ports: int) -> dict[str, str]:
    """{pin of the top module: input or output}, from the Verilog."""
    text = verilog(ports)[f"{TOP}.v"]
    body = text[text.index(f"\nmodule {TOP}(") :]
    names = re.sub(r"\s", "", body[body.index("(") + 1 : body.index(")")]).split(",")
    found = dict(
        (name, way)
        for way, name in re.findall(r"^  (input|output) (?:\[\d+:0\] )?(\w+);", body, re.MULTILINE)
    )
    return {name: found[name] for name in names}


def write_project(folder: Path, board: Board) -> Path:
    params = replace(SMALL, in_channels=16, ports=board.array.ports)
    for name, text in verilog(params.ports).items():
        (folder / "rtl").mkdir(exist_ok=True)
        (folder / "rtl" / name).write_text(text)
    for name, data in vivado_files(board, params, board.clock_mhz, verilog(params.ports)).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / "vivado" / "build.tcl"


def run(folder: Path, board: Board, fail: str = "") -> Recording:
    return record(folder, write_project(folder, board), list(pins(board.array.ports)), fail)
