"""Reports as terminal tables."""

from __future__ import annotations

from rich.table import Table

from fpga_gen.report import Report
from fpga_gen.report.markdown import layer_rows, performance_rows


def frame_table(report: Report) -> Table:
    """The figures of one frame."""
    table = Table(title=f"{report.model.name} on {report.board.name}, one frame")
    for head in ("figure", "estimated", "simulated"):
        table.add_column(head, justify="left" if head == "figure" else "right")
    for row in performance_rows(report):
        table.add_row(*row)
    return table


def layer_table(report: Report) -> Table:
    """One row for each layer, estimated."""
    table = Table(title="layers (estimated)")
    for head in ("layer", "op", "mapping", "MACs", "cycles", "utilisation", "DRAM bytes"):
        left = head in ("layer", "op", "mapping")
        table.add_column(head, justify="left" if left else "right")
    for row in layer_rows(report):
        table.add_row(*row)
    return table
