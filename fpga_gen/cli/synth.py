"""`fpga-gen synth`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from fpga_gen.cli.common import ConsoleProgress, Settings, common_options
from fpga_gen.cli.terminal import cell

if TYPE_CHECKING:
    from fpga_gen.report import Report
    from fpga_gen.synth.design import MappedDesign


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--paths", type=click.IntRange(min=0), default=10, show_default=True, help="Paths to list."
)
@common_options
@click.pass_obj
def synth(settings: Settings, directory: Path, paths: int) -> None:
    """Map the Verilog in DIRECTORY with Yosys: resources, logic depth, fan-out."""
    from fpga_gen import Build
    from fpga_gen.synth.flow import MAX_FAN_OUT, MAX_LEVELS

    with ConsoleProgress(settings) as progress:
        build = Build(directory)
        design = build.synth(progress=progress)
    report = build.report
    data = report.to_dict()
    deep, wide = design.paths(MAX_LEVELS), design.wide_nets(MAX_FAN_OUT)
    settings.result(
        {
            "directory": str(directory),
            "resources": data["resources"],
            "timing": data["timing"],
            "paths": [
                {"levels": p.levels, "module": b.name, "from": p.start, "to": p.end}
                for b, p in deep[:paths]
            ],
            "nets": [
                {"loads": n.loads, "control": n.control, "module": b.name, "net": n.net}
                for b, n in wide[:paths]
            ],
        }
    )
    settings.show(resource_table(directory, report))
    settings.show(block_table(design))
    timing = report.timing
    assert timing is not None
    settings.say(f"deepest path: {timing.worst_levels} levels, {timing.start} -> {timing.end}")
    for block, path in deep[:paths]:
        settings.say(f"  {path.levels:2} levels  {block.name}: {path.start} -> {path.end}")
    settings.say(
        f"nets with more than {MAX_FAN_OUT} loads: {len(wide)}; the widest has {timing.widest}, "
        f"{timing.widest_net}"
    )
    for block, net in wide[:paths]:
        control = f" ({net.control} enables and resets)" if net.control else ""
        settings.say(f"  {net.loads:5} loads{control}  {block.name}: {net.net}")


def resource_table(directory: Path, report: Report) -> Table:
    """Primitives beside those of the board."""
    from fpga_gen.report.markdown import resource_rows

    table = Table(title=cell(f"{directory}: resources (synthesised)"))
    for head in ("primitive", "used", "available", "share"):
        table.add_column(head, justify="left" if head == "primitive" else "right")
    for row in resource_rows(report):
        table.add_row(*row)
    return table


def block_table(design: MappedDesign) -> Table:
    """The blocks that take the most LUTs, all copies of one text together."""
    merged: dict[str, list] = {}
    for block in design.blocks.values():
        entry = merged.setdefault(block.digest, [block.name, 0, block.cost, block.timing])
        entry[1] += block.copies
    rows = sorted(merged.values(), key=lambda e: -e[1] * e[2].lut)[:16]
    table = Table(title="blocks, all copies (synthesised)")
    for head in ("block", "copies", "LUT", "FF", "DSP", "BRAM36", "URAM", "levels"):
        table.add_column(head, justify="left" if head == "block" else "right")
    for name, copies, cost, timing in rows:
        total = cost * copies
        table.add_row(
            name,
            str(copies),
            *(f"{n:,g}" for n in (total.lut, total.ff, total.dsp, total.bram36, total.uram)),
            str(timing.worst.levels),
        )
    return table
