"""The command group and the mapping from errors to exit codes."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import click

from fpga_gen import __version__
from fpga_gen.cli.bitstream import bitstream
from fpga_gen.cli.board import board
from fpga_gen.cli.boards import boards
from fpga_gen.cli.build import build, estimate
from fpga_gen.cli.check import check
from fpga_gen.cli.common import Settings, common_options
from fpga_gen.cli.compare import compare
from fpga_gen.cli.evaluate import evaluate
from fpga_gen.cli.explore import explore
from fpga_gen.cli.models import models
from fpga_gen.cli.prune import prune
from fpga_gen.cli.reference import reference
from fpga_gen.cli.serve import serve
from fpga_gen.cli.simulate import simulate
from fpga_gen.cli.synth import synth
from fpga_gen.cli.terminal import plain
from fpga_gen.errors import FpgaGenError
from fpga_gen_host.errors import HostError

OK, INPUT_ERROR, USAGE_ERROR, INTERRUPTED = 0, 1, 2, 130


class InOrder(click.Group):
    """Lists its commands in the order in which a newcomer needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, as they were added."""
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fpga-gen")
@common_options
def cli() -> None:
    """Compile a CNN in ONNX into a bit-exact FPGA accelerator."""


COMMANDS = (
    *(boards, models, check, estimate, build, simulate, evaluate, compare, explore),
    *(prune, synth, bitstream, reference, serve, board),
)
for command in COMMANDS:
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line, see `fpga_gen.cli.run`."""
    settings = Settings()
    try:
        code = cli.main(list(arguments), prog_name="fpga-gen", standalone_mode=False, obj=settings)
    except (FpgaGenError, HostError) as error:
        if settings.verbose:
            click.echo(plain(traceback.format_exc()), err=True, nl=False)
        click.echo(plain(f"fpga-gen: {error}"), err=True)
        return INPUT_ERROR
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("fpga-gen: interrupted", err=True)
        return INTERRUPTED
    return code if isinstance(code, int) else OK
