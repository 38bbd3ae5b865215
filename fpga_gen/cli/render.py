"""Reports as terminal tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from fpga_gen.boards import Board
from fpga_gen.cli.terminal import cell
from fpga_gen.report import Report
from fpga_gen.report.markdown import LAYER_HEAD, LAYER_LEFT, layer_rows, performance_rows
from fpga_gen.sizing.search import Candidate

if TYPE_CHECKING:
    from fpga_gen import BoardEstimate


def frame_table(report: Report) -> Table:
    """The figures of one frame."""
    table = Table(title=cell(f"{report.model.name} on {report.board.name}, one frame"))
    for head in ("figure", "estimated", "simulated"):
        table.add_column(head, justify="left" if head == "figure" else "right")
    for row in performance_rows(report):
        table.add_row(*map(cell, row))
    return table


def board_table(found: Sequence[BoardEstimate]) -> Table:
    """What fits where, and how fast it would be."""
    table = Table(title="one frame on each board (estimated)")
    for head in ("board", "fits", "frame/s", "ms", "LUT", "DSP", "MHz", "array"):
        table.add_column(head, justify="left" if head in ("board", "fits") else "right")
    for item in found:
        if item.report is None:
            table.add_row(item.board.name, "no", *["-"] * 6)
            continue
        report, array = item.report, item.report.array
        used, have = report.resources.used, report.resources.available
        table.add_row(
            item.board.name,
            "yes",
            f"{report.estimate.fps:,.1f}",
            f"{report.estimate.latency_ms:,.2f}",
            f"{100 * used.luts / have.luts:.0f} %",
            f"{100 * used.dsps / have.dsps:.0f} %",
            f"{report.clock_mhz:g}",
            ",".join(map(str, (array.pixels, array.in_channels, *array.out_channels.values()))),
        )
    return table


def layer_table(report: Report) -> Table:
    """One row for each layer, estimated."""
    table = Table(title="layers (estimated)")
    for number, head in enumerate(LAYER_HEAD):
        table.add_column(head, justify="left" if number < LAYER_LEFT else "right")
    for row in layer_rows(report):
        table.add_row(*map(cell, row))
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
        "exit",
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
            p.figures_text,
            ",".join(map(str, p.modes)),
            str(p.exit_pixels),
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
