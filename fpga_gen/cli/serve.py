"""`fpga-gen serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fpga_gen.cli.common import ConsoleProgress, Settings, common_options

if TYPE_CHECKING:
    from fpga_gen.api.session import Device


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--device",
    type=click.Choice(["reference", "rtl", "board"]),
    default="reference",
    show_default=True,
    help="What computes: the integer reference, the simulated Verilog, or a board through PYNQ.",
)
@click.option(
    "--address",
    metavar="HOST",
    help="For --device board: of a board elsewhere, or of the one that `fpga-gen board` serves.  "
    "[default: this machine]",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on.",
)
@common_options
@click.pass_obj
def serve(
    settings: Settings, directory: Path, device: Device, address: str | None, host: str, port: int
) -> None:
    """Serve a web page for pictures, video or a camera."""
    from fpga_gen import Build

    with ConsoleProgress(settings) as progress:
        progress.start("open the device")
        live = Build(directory).live(device, address)
    from fpga_gen_host.live import check_port
    from fpga_gen_host.live import serve as serve_page

    try:
        check_port(host, port)
        settings.result({"url": f"http://{host}:{port}"})
        settings.say(f"http://{host}:{port}, Ctrl-C ends it")
        serve_page(live, host, port)
    finally:
        live.runner.close()
