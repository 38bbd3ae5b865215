"""What all sub-commands share: -q, -v, --json, option types, progress and output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fpga_gen.cli.terminal import line, plain
from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.params import MAX_MODE

Command = TypeVar("Command", bound=Callable[..., Any])


PIPE_WIDTH = 160  # columns of tables that go to a file or a pipe


def _wide(console: Console) -> Console:
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


@dataclass
class Settings:
    """The options that go before or after the sub-command."""

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    out: Console = field(default_factory=lambda: _wide(Console(highlight=False)))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def say(self, text: str) -> None:
        """A line for people on standard output; silent under -q and --json."""
        if not (self.quiet or self.json):
            self.out.print(plain(text), markup=False, soft_wrap=True)

    def show(self, table: Table) -> None:
        if not (self.quiet or self.json):
            self.out.print(table)

    def result(self, data: object) -> None:
        """The machine-readable result on standard output; only under --json."""
        if self.json:
            click.echo(json.dumps(data, indent=1, allow_nan=False))


def common_options(command: Command) -> Command:
    """Adds -q, -v and --json; they may stand before and after the sub-command."""

    def note(context: click.Context, option: click.Parameter, value: bool) -> None:
        if value and option.name:
            setattr(context.ensure_object(Settings), option.name, True)

    flags = (
        (("-q", "--quiet"), "Print nothing but errors."),
        (("-v", "--verbose"), "Print each step and, after an error, a traceback."),
        (("--json",), "Print the result as JSON on standard output."),
    )
    for names, text in reversed(flags):
        command = click.option(*names, is_flag=True, expose_value=False, callback=note, help=text)(
            command
        )
    return command


class IntList(click.ParamType):
    """Comma-separated positive integers; zero is allowed from position `zero_from` on."""

    def __init__(self, name: str, lengths: tuple[int, ...], zero_from: int = 99) -> None:
        self.name = name
        self.lengths = lengths
        self.zero_from = zero_from

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        low = [0 if i >= self.zero_from else 1 for i in range(len(numbers))]
        if len(numbers) not in self.lengths or any(
            n < least for n, least in zip(numbers, low, strict=True)
        ):
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return numbers


class ClockOption(click.ParamType):
    """MHz, or "auto"."""

    name = "F|auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        if value == "auto":
            return "auto"
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a clock in MHz nor auto", param, ctx)


CLOCK = ClockOption()
SHAPE = IntList("1,C,H,W", (3, 4))
ARRAY = IntList(
    ",".join(["P", "CI", *(f"CO_{kind.title}" for kind in KINDS)]),
    tuple(range(4, 3 + len(KINDS))),  # kinds that came later may be left out
    zero_from=2,
)
MODES = IntList("M,...", tuple(range(1, MAX_MODE + 1)))
# Of the commands whose work may be spread over processes.
SCHEDULER = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Of a Dask cluster: tcp://HOST:8786.  [default: this machine]",
)


class ConsoleProgress:
    """Progress of the pipeline on standard error: bars on a terminal, else lines under -v."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        live = settings.err.is_terminal and not (settings.quiet or settings.json)
        self.bars = (
            Progress(
                SpinnerColumn(),
                TextColumn("{task.description:<28}"),
                BarColumn(),
                TextColumn("{task.fields[detail]}", markup=False),
                TimeElapsedColumn(),
                console=settings.err,
            )
            if live
            else None
        )
        self.task: Any = None
        self.started = 0.0

    def __enter__(self) -> ConsoleProgress:
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bars:
            self.bars.stop()

    def start(self, name: str) -> None:
        """A step begins."""
        self.started = time.monotonic()
        if self.bars:
            self.task = self.bars.add_task(name, total=None, detail="")

    def detail(self, text: str, done: float | None = None) -> None:
        """What the step is doing; done: 0..1 if known."""
        if self.bars:
            total = None if done is None else 1.0
            self.bars.update(self.task, total=total, completed=done or 0, detail=line(text)[:48])

    def finish(self, name: str, seconds: float) -> None:
        """A step is complete."""
        if self.bars:
            self.bars.update(self.task, total=1.0, completed=1.0, detail="")
        elif self.settings.verbose and not self.settings.quiet:
            self.settings.err.print(f"{name}: {seconds:.1f} s", markup=False)
