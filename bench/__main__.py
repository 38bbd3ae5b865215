"""`python -m bench`: runs the benchmarks, prints the tables and keeps them in docs/."""

from __future__ import annotations

import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from bench.frames import FRAMES, Work, frame_rows
from bench.networks import WORKS
from bench.peer import run_nngen
from bench.rows import KINDS, Row, from_dict, markdown, to_dict
from bench.small import MULTIPLIERS, best_shape, float_result, prepare, run, shape_text
from fpga_gen.cli.common import ConsoleProgress, Settings
from fpga_gen.cli.models import export_model
from fpga_gen.errors import FpgaGenError

ROOT = Path(__file__).resolve().parents[1]
JSON, MARKDOWN = "benchmark.json", "benchmark.md"
INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. Nothing here was run on hardware.

{kinds}

The two small works compare generators with the same number of multipliers ({multipliers}) on the
same memory: one 128-bit port, 13 cycles from the address of a burst to its first beat, one burst at
a time, no data in 4 of 19 cycles (what NNgen's examples simulate with). NNgen 1.3.4 comes from PyPI
and is mended in one place, without which it does not generate a concatenation of three; both are
simulated by the same Verilator in the same run.

This engine reads its input before the first layer; it stores a result as soon as whole planes of
it are complete, while it computes the rest. NNgen loads and stores while it computes. Loading is
0.4 per cent of HarDNet-MSEG; in works as small as these it is the largest loss. The shape is the
best in the cycle model of all that the generator can make: columns come in pairs, which share DSPs,
and memory needs as many banks as one step writes words.
"""


def small_rows(
    title: str,
    write: Callable[[Path], Path],
    nngen: Path | None,
    cache: Path,
    say: Callable[[str], None],
) -> Iterator[Row]:
    """This engine, NNgen and the bound on one small work."""
    with tempfile.TemporaryDirectory(prefix="fpga-gen-bench-") as folder:
        model = write(Path(folder) / "work.onnx")
        work = prepare(model)
        schedule = best_shape(work, say)
        row = partial(Row, title, multipliers=MULTIPLIERS, macs=work.macs)
        result = run(work, schedule)
        moves = {
            op: sum(x.cycles for x in schedule.layers if x.op == op) for op in ("load", "store")
        }
        yield row(
            "fpga-gen",
            "simulated",
            cycles=result.cycles,
            dram_bytes=result.dram_bytes,
            note=f"{shape_text(schedule.params)}, the best in the model "
            f"({schedule.estimate.cycles:,} cycles); in {moves['load']:,} it only loads, in "
            f"{moves['store']:,} it only stores; bit-exact; {result.sqnr_db:.1f} dB against float",
        )
        if nngen is not None:
            peer = run_nngen(nngen, model, float_result(work), cache)
            equal = "equal to" if peer.exact else "DIFFERENT from"
            yield row(
                "NNgen 1.3.4",
                "simulated",
                cycles=peer.cycles,
                dram_bytes=peer.dram_bytes,
                note=f"8 in x 4 out x 9 taps; result {equal} its own reference, "
                f"{peer.sqnr_db:.1f} dB against float",
            )
    yield row(
        "lower bound",
        "bound",
        cycles=work.lower_bound,
        dram_bytes=schedule.estimate.lower_bound_bytes,
        note="every multiplier busy in every cycle; weights, input and result once",
    )


def whole_rows(work: Work, folder: Path, rtl: bool) -> Iterator[Row]:
    """Rows of a whole network; its model is exported with random weights where none is kept."""
    size = work.size if isinstance(work.size, int) else "x".join(map(str, work.size))
    model = ROOT / work.file if work.file else folder / f"{work.model}-{size}.onnx"
    if not model.exists():
        folder.mkdir(parents=True, exist_ok=True)
        export_model(work.model, model, None, work.size, seed=0)
    with ConsoleProgress(Settings()) as progress:
        yield from frame_rows(work, model, folder, rtl, progress)


def merge(old: list[Row], new: list[Row], order: Iterable[str]) -> list[Row]:
    """New rows take the place of the old ones of their works."""
    fresh = {row.work for row in new}
    rows = [row for row in old if row.work not in fresh] + new
    places = {title: k for k, title in enumerate(order)}
    return sorted((r for r in rows if r.work in places), key=lambda r: places[r.work])


def write_tables(rows: list[Row], folder: Path) -> None:
    """benchmark.json and benchmark.md."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"kinds": KINDS, "rows": [to_dict(r) for r in rows]}
    (folder / JSON).write_text(json.dumps(data, indent=1) + "\n")
    kinds = "\n".join(f"- *{kind}*: {text}." for kind, text in KINDS.items())
    head = INTRODUCTION.format(kinds=kinds, multipliers=MULTIPLIERS)
    (folder / MARKDOWN).write_text(f"{head}\n{markdown(rows)}\n")


@click.command()
@click.option("--rtl", is_flag=True, help="Simulate whole networks too, minutes each.")
@click.option("--only", default="", help="Works whose title contains this; the others stay.")
@click.option("--nngen", type=click.Path(path_type=Path), help="Python of NNgen's environment.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("build/bench"))
@click.option("--output", type=click.Path(path_type=Path), default=ROOT / "docs")
def main(rtl: bool, only: str, nngen: Path | None, folder: Path, output: Path) -> None:
    """Run the benchmarks and update the tables in OUTPUT."""
    titles = [*WORKS, *(w.title for w in FRAMES)]
    chosen = [t for t in titles if only.lower() in t.lower()]
    if not chosen:
        raise click.UsageError(f"--only {only!r}: the works are {', '.join(titles)}")
    path = output / JSON
    rows = [from_dict(r) for r in json.loads(path.read_text())["rows"]] if path.exists() else []
    today = datetime.date.today().isoformat()
    frames = {w.title: w for w in FRAMES}
    for title in chosen:
        click.echo(f"== {title}")
        if title in frames:
            made = whole_rows(frames[title], folder, rtl)
        else:
            made = small_rows(title, WORKS[title], nngen, folder, click.echo)
        began = time.monotonic()
        dated = [row if row.kind == "published" else replace(row, date=today) for row in made]
        rows = merge(rows, dated, titles)
        write_tables(rows, output)
        click.echo(f"{title}: {time.monotonic() - began:.0f} s")
    click.echo(markdown([row for row in rows if row.work in chosen]))
    click.echo(f"{output / MARKDOWN}, {path}: updated")


if __name__ == "__main__":
    try:
        main()
    except FpgaGenError as error:
        sys.exit(f"bench: {error}")
