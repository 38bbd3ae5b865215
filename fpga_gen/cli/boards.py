"""`fpga-gen boards`."""

from __future__ import annotations

import click
from rich.table import Table

from fpga_gen.boards import board_names, load_board
from fpga_gen.cli.common import Settings, common_options
from fpga_gen.contract.column_kinds import KINDS


@click.command()
@common_options
@click.pass_obj
def boards(settings: Settings) -> None:
    """List the known boards and their default arrays."""
    known = [load_board(name) for name in board_names()]
    settings.result([board.to_dict() for board in known])
    table = Table("board", "part", "LUT", "DSP", "BRAM36", "URAM", "MHz", "array", "MAC/cycle")
    for board in known:
        have, array = board.resources, board.array
        counts = (have.luts, have.dsps, have.bram36, have.uram)
        columns = "+".join(str(kind.count(array)) for kind in KINDS)
        table.add_row(
            board.name,
            board.part,
            *(f"{n:,}" for n in counts),
            f"{board.clock_mhz:g}",
            f"{array.pixels}x{array.in_channels}x({columns})",
            f"{array.macs_per_cycle:,}",
        )
    settings.show(table)
    kinds = " + ".join(kind.title for kind in KINDS)
    settings.say(f"Array: pixels x inputs x ({kinds} columns). No board was measured.")
