"""A build directory becomes a virtual board.

Read `BOARD` first: the named steps, run in order and timed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fpga_gen.board.machine import Machine
from fpga_gen.board.simulator import FrameRecord
from fpga_gen.boards import Board
from fpga_gen.builddir.artifacts import BuildDir
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy.bitfile import has_stand_in_handoff, is_stand_in, stand_in_bitstream
from fpga_gen.deploy.handoff import hardware_handoff
from fpga_gen.disk import replace_file
from fpga_gen.errors import BoardError, BuildDirError, ToolError
from fpga_gen.generated import compile_verilog
from fpga_gen.identity import open_build
from fpga_gen.simulate.board_dram import board_dram
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.steps import Progress, Silent, run_steps
from fpga_gen_host.identity import DESIGN

MEMORY_BASE = 0x1000_0000  # where the contiguous memory of the virtual board begins
DEFAULT_MEMORY = 256  # MiB


@dataclass
class BoardFlow:
    """What the steps have made so far. memory_mb: contiguous memory of the board, MiB."""

    directory: Path
    memory_mb: int = DEFAULT_MEMORY
    on_frame: Callable[[FrameRecord], None] | None = None
    progress: Progress = field(default_factory=Silent)
    times: dict[str, float] = field(default_factory=dict)
    build: BuildDir = field(init=False)
    params: EngineParams = field(init=False)
    board: Board = field(init=False)
    clock_mhz: float = field(init=False)
    design_hash: int = field(init=False)
    bitstream: Path = field(init=False)
    stand_in: bool = False
    dram: DramConfig = field(init=False)
    library: Path = field(init=False)
    machine: Machine = field(init=False)


Step = tuple[str, Callable[[BoardFlow], None]]


def check_directory(flow: BoardFlow) -> None:
    """Reads and verifies the build directory; whether pynq is here."""
    need_pynq()
    flow.build = build = open_build(flow.directory)
    flow.params, flow.clock_mhz, flow.board = build.params, build.clock_mhz, build.board
    flow.design_hash = build.design_hash
    sizes = [len(build.program), len(build.weights), len(build.read("layout.json"))]
    size = flow.memory_mb << 20
    if not sum(sizes) < size <= (1 << 31) - MEMORY_BASE:
        raise BoardError(
            f"--memory {flow.memory_mb}: program and weights take {sum(sizes) >> 20} MiB, "
            f"at most {((1 << 31) - MEMORY_BASE) >> 20} MiB can be had"
        )
    flow.dram = board_dram(flow.clock_mhz, size, base=MEMORY_BASE, rate=build.memory_rate)
    overlay_files(flow)


def overlay_files(flow: BoardFlow) -> None:
    """The .bit and .hwh that a client loads: Vivado's if the directory holds them, or stand-ins."""
    found = sorted(flow.directory.glob("*.bit"))
    if len(found) > 1:
        names = ", ".join(f.name for f in found)
        raise BuildDirError(f"{flow.directory}: several bitstreams ({names}): keep one")
    if found and not is_stand_in(found[0]):
        flow.bitstream = found[0]
        if not found[0].with_suffix(".hwh").is_file():
            raise BuildDirError(f"{found[0].with_suffix('.hwh')}: missing: copy it from Vivado")
        return
    flow.stand_in = True
    flow.bitstream = found[0] if found else flow.directory / f"{DESIGN}.bit"
    beside = flow.bitstream.with_suffix(".hwh")
    if not has_stand_in_handoff(beside):
        raise BuildDirError(f"{beside}: not written by fpga-gen: put its .bit beside it")
    handoff = hardware_handoff(flow.params, flow.board, flow.clock_mhz)
    data = stand_in_bitstream(DESIGN, flow.board.part, flow.design_hash, handoff)
    try:
        replace_file(beside, handoff.encode())
        replace_file(flow.bitstream, data)
    except OSError as error:
        raise BuildDirError(f"{flow.bitstream}: cannot be written: {error.strerror}") from error


def compile_simulator(flow: BoardFlow) -> None:
    """Verilog -> simulator; kept in a cache by content."""
    flow.progress.detail("the first time this takes minutes")
    flow.library = compile_verilog(flow.build)


def power_up(flow: BoardFlow) -> None:
    """The machine, without a bitstream in it."""
    flow.machine = Machine(
        f"virtual-{flow.board.name}",
        configuration_data(flow.bitstream),
        flow.design_hash,
        flow.library,
        flow.params,
        flow.dram,
        flow.on_frame,
    )


BOARD: tuple[Step, ...] = (
    ("check build directory", check_directory),
    ("compile simulator", compile_simulator),
    ("power up", power_up),
)


def start_board(
    directory: Path,
    memory_mb: int = DEFAULT_MEMORY,
    on_frame: Callable[[FrameRecord], None] | None = None,
    progress: Progress | None = None,
) -> BoardFlow:
    """The machine of a build directory, ready for `BoardServer`; close it in the end."""
    flow = BoardFlow(directory, memory_mb, on_frame, progress or Silent())
    return run_steps(flow, BOARD)


def need_pynq() -> None:
    """ToolError unless pynq can be imported with the services of PYNQ.remote."""
    try:
        import pynq.remote.mmio_pb2_grpc  # noqa: F401
    except ImportError as error:
        raise ToolError(
            "pynq", f"cannot be imported ({error}): pip install 'fpga-gen[board]'"
        ) from error


def configuration_data(bitstream: Path) -> bytes:
    """What PYNQ hands to the FPGA manager for a .bit file; BuildDirError if it is none."""
    from pynq.pl_server.embedded_device import bit2bin

    try:
        return bit2bin(bitstream.read_bytes())
    except (OSError, RuntimeError, ValueError, IndexError, struct.error) as error:
        raise BuildDirError(f"{bitstream}: not a bitstream ({error})") from error
