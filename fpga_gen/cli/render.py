"""Reports as terminal tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from fpga_gen.boards import Board
from fpga_gen.cli.terminal import cell
from fpga_gen.report import Report
from fpga_gen.report.markdown import layer_rows, performance_rows
from fpga_gen.sizing.search import Candidate

if TYPE_CHECKING:
    from fpga_gen.flows.every_board import BoardAnswer


def frame_table(report: Report) -> Table:
    """The figures of one frame."""
    table = Table(title=cell(f"{report.model.name} on {report.board.name}, one frame"))
    for head in ("figure", "estimated", "simulated"):
        table.add_column(head, justify="left" if head == "figure" else "right")
    for row in performance_rows(report):
        table.add_row(*map(cell, row))
    return table


def layer_table(report: Report) -> Table:
    """One row for each layer, estimated."""
    table = Table(title="layers (estimated)")
    for head in ("layer", "op", "mapping", "MACs", "cycles", "utilisation", "DRAM bytes"):
        left = head in ("layer", "op", "mapping")
        table.add_column(head, justify="left" if left else "right")
    for row in layer_rows(report):
        table.add_row(*map(cell, row))
    return table


def boards_table(answers: Sequence[BoardAnswer]) -> Table:
    """One row for each board, estimated."""
    table = Table(title="every board with its own array, one frame (estimated)")
    for head in ("board", "array", "MHz", "frame/s", "DRAM MB", "bound MB", "limit"):
        table.add_column(head, justify="left" if head in ("board", "array", "limit") else "right")
    for answer in answers:
        f = answer.to_dict()
        if answer.report is None:
            table.add_row(answer.board, "-", "-", "-", "-", "-", cell(answer.limit))
            continue
        moved = f["dram_read_bytes"] + f["dram_write_bytes"]
        table.add_row(
            answer.board,
            ",".join(map(str, f["array"])),
            f"{f['clock_mhz']:g}",
            f"{f['fps']:.1f}",
            f"{moved / 1e6:.2f}",
            f"{f['dram_lower_bound_bytes'] / 1e6:.2f}",
            cell(answer.limit),
        )
    return table


def engine_table(candidates: tuple[Candidate, ...], board: Board) -> Table:
    """The engines that were compared, best first, and what limits each. Ranked by the cycles of
    their schedules; engines without one by those of the quick model."""
    table = Table(
        title=f"best engines for {board.name} (estimated)",
        caption="ranked by the schedule of the network before quantisation; "
        "-: behind another of its shape, or too far behind, in the quick model of layer sums",
    )
    heads = (
        "array",
        "modes",
        "ports",
        "scheduled",
        "quick model",
        "LUT",
        "FF",
        "DSP",
        "BRAM36",
        "URAM",
        "limit",
    )
    for head in heads:
        table.add_column(head, justify="left" if head in ("array", "limit") else "right")
    for candidate in candidates:
        p, shares = candidate.params, candidate.shares(board)
        table.add_row(
            f"{p.pixels},{p.in_channels},{p.dsp_columns},{p.sp2_columns}",
            ",".join(map(str, p.modes)),
            str(p.ports),
            "-" if candidate.scheduled is None else f"{candidate.scheduled:,}",
            f"{candidate.cycles.total:,}",
            *(
                f"{100 * shares[key]:.0f} %" if key in shares else "-"
                for key in ("luts", "flip_flops", "dsps", "bram36", "uram")
            ),
            candidate.limit(board),
        )
    return table
