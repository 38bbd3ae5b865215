"""`fpga-gen board`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fpga_gen.cli.common import ConsoleProgress, Settings, common_options

if TYPE_CHECKING:
    from fpga_gen.board.simulator import FrameRecord


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Loopback address to serve; others let several boards run side by side.",
)
@click.option(
    "--memory",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Contiguous memory of the board, MiB.",
)
@common_options
@click.pass_obj
def board(settings: Settings, directory: Path, address: str, memory: int) -> None:
    """Serve the build in DIRECTORY as a virtual board, until Ctrl-C.

    The generated RTL runs in simulation; a client finds it with PYNQ_REMOTE_DEVICES=ADDRESS. A
    directory without a bitstream gets a stand-in .bit and its .hwh.
    """
    from fpga_gen import Build
    from fpga_gen.flows.board import need_pynq

    need_pynq()
    from fpga_gen.board.server import BoardServer, check_loopback, keep_memory_steady

    check_loopback(address)
    keep_memory_steady()
    with ConsoleProgress(settings) as progress:
        flow = Build(directory).serve_board(
            memory, lambda frame: settings.say(frame_line(frame)), progress
        )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = BoardServer(flow.machine, address)
        settings.result({"address": address, "port": server.port, "board": flow.board.name})
        kind = "stand-in bitstream" if flow.stand_in else "bitstream"
        settings.say(f"{flow.bitstream}: {kind} of this board")
        settings.say(
            f"virtual {flow.board.name} at {address}:{server.port}, Ctrl-C ends it; for clients: "
            f"export PYNQ_REMOTE_DEVICES={address}"
        )
        ended.wait()
        server.stop()
    finally:
        flow.machine.close()


def frame_line(frame: FrameRecord) -> str:
    """What is said of a run when it has ended."""
    gap = "" if frame.gap is None else f", {frame.gap:,} after the one before"
    return f"frame: {frame.end - frame.start:,} cycles in {frame.seconds:.1f} s{gap}"
