"""`fpga-gen check`: can this model be built, and if not, why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fpga_gen.cli.build import INPUT_SHAPE, array_options
from fpga_gen.cli.common import Settings, common_options
from fpga_gen.cli.terminal import line


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--board", metavar="NAME", help="See `fpga-gen boards`.  [default: the largest]")
@array_options
@INPUT_SHAPE
@common_options
@click.pass_context
def check(context: click.Context, model: Path, **options: Any) -> int:
    """Tell whether MODEL can be built, or which nodes are in the way."""
    import fpga_gen
    from fpga_gen.report.breakdown import largest_loss

    settings: Settings = context.obj
    found = fpga_gen.check(model, **options)
    settings.result(
        {
            "model": str(model),
            "supported": not found.problems,
            "problems": [
                {"node": p.node, "op": p.op, "reason": p.reason, "remedy": p.remedy}
                for p in found.problems
            ],
            "board": found.board,
            "parameters": found.params and found.params.to_dict(),
            "cycles": found.cycles,
            "shares": {share.title: share.cycles for share in found.shares},
            "approximations": [{"where": n, "reason": r} for n, r in found.approximations],
        }
    )
    if not found.problems:
        assert found.params is not None
        array, loss = found.params.figures_text, largest_loss(found.shares)
        for where, reason in found.approximations:
            settings.say(f"approximate: {where}: {reason}")
        settings.say(
            f"{model}: can be built for {found.board} ({array}, about {found.cycles:,} "
            f"cycles a frame; most of what is lost: {loss.title}, "
            f"{100 * loss.cycles / found.cycles:.0f} %)"
        )
        return 0
    count = f"{len(found.problems)} problem{'s' * (len(found.problems) > 1)}"
    text = line(f"fpga-gen: {model}: cannot be compiled for {found.board}, {count}")
    click.echo(text, err=True)
    for problem in found.problems:
        click.echo(f"  {line(problem)}", err=True)
    return 1
