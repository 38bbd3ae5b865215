"""`python -m bench.survey` writes docs/networks.md: networks that people bring, on some boards."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import onnxruntime

from bench.survey_page import Entry, read_entries, renewed, write_entries
from fpga_gen import pipeline
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import FpgaGenError
from fpga_gen.flows.check import Check, check_model
from fpga_gen.flows.simulate import simulate_build
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer, sqnr_db
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.report.breakdown import largest_loss
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING
from fpga_gen.sizing.sums import with_cheap_sums
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_models.zoo import NETWORKS, export_network

RECORD = Path(__file__).resolve().parents[1] / "docs" / "networks.json"
BOARDS = ("zcu104", "kv260")
INPUT_SEED = 7


def checked(name: str, board: str, model: Path) -> tuple[Entry, Check]:
    """What `check` finds of one network for one board."""
    config = BuildConfig(model, board=board)
    found = check_model(config)
    shape = "x".join(map(str, NETWORKS[name].shape))
    entry = Entry(name, shape, board, date=_today())
    if found.problems or found.params is None:
        first = found.problems[0]
        more = f" ({len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        return replace(entry, problem=f"{first.op} {first.reason}{more}"), found
    loss = largest_loss(found.shares)
    entry = replace(
        entry,
        macs=found.macs,
        cycles=found.cycles,
        rate=config.resolve_clock(config.load_board()) * 1e6 / found.cycles,
        used=found.macs / (found.cycles * found.params.macs_per_cycle),
        loss=f"{loss.title}, {100 * loss.cycles / found.cycles:.0f} %",
    )
    return entry, found


def agreement(path: Path, params: EngineParams) -> float:
    """SQNR in dB of the first result of the integer reference against onnxruntime."""
    graph = optimise(import_onnx(path))
    scheme = "mixed" if params.sp2_columns else "fixed8"
    options = QuantOptions(compensate=False)
    qgraph = quantise(graph, params, None, scheme=scheme, options=options)
    qgraph = with_cheap_sums(graph, qgraph, params, DEFAULT_TIMING, True)
    image = draw_input(graph.host_input.model_shape)
    session = onnxruntime.InferenceSession(path)
    source = session.get_inputs()[0].name
    want = session.run(None, {source: image.reshape(graph.host_input.array_shape)})[0]
    stored = run_integer(qgraph, quantise_input(qgraph, image))
    real = {name: dequantise(qgraph, name, stored[name]) for name in qgraph.outputs}
    return sqnr_db(want, next(iter(run_host_ops(qgraph, real).values())))


def draw_input(shape: tuple[int, ...]) -> np.ndarray:
    """float32, N(0, 1)."""
    return np.random.default_rng(INPUT_SEED).normal(size=shape).astype(np.float32)


def simulated(entry: Entry, model: Path, params: EngineParams, folder: Path) -> Entry:
    """With the cycles of a frame of the same engine in the RTL."""
    config = BuildConfig(model, board=entry.board, array=params.figures)
    build = folder / "build"
    pipeline.build(config, build)
    picture = folder / "input.npy"
    np.save(picture, draw_input(import_onnx(model).host_input.model_shape))
    result = simulate_build(build, picture).report.simulation
    assert result is not None
    return replace(entry, rtl=result.cycles, exact=result.bit_exact, rtl_date=_today())


def survey(
    name: str, agree: bool, rtl: bool, before: dict[tuple[str, str], Entry]
) -> Iterator[tuple[Entry, float]]:
    """Entries of a network, and the seconds that its check took. before: what is known."""
    with tempfile.TemporaryDirectory(prefix="fpga-gen-networks-") as place:
        folder = Path(place)
        model = export_network(name, folder / f"{name}.onnx")
        for board in BOARDS:
            began = time.monotonic()
            entry, found = checked(name, board, model)
            seconds = time.monotonic() - began
            entry = renewed(entry, before.get((name, board)))
            first = board == BOARDS[0] and not entry.problem and found.params is not None
            if first and agree:
                entry = replace(entry, sqnr=agreement(model, found.params))
            if first and rtl:
                entry = simulated(entry, model, found.params, folder)
            yield entry, seconds


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@click.command()
@click.option("--only", default="", help="Networks whose name holds this text.")
@click.option(
    "--agreement", "agree", default="", help="Compare integers of these with onnxruntime as well."
)
@click.option("--rtl", default="", help="Simulate a frame of these as well, on the first board.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=RECORD)
def main(only: str, agree: str, rtl: str, output: Path) -> None:
    """Checks the networks for zcu104 and kv260; renews their lines of the record and the page."""
    unknown = {*agree.split(","), *rtl.split(",")} - {*NETWORKS, ""}
    if unknown:
        raise click.UsageError(f"no network of the zoo: {', '.join(sorted(unknown))}")
    entries = read_entries(output)
    for name in NETWORKS:
        if only not in name:
            continue
        wanted = name in agree.split(","), name in rtl.split(",")
        try:
            for entry, seconds in survey(name, *wanted, entries):
                entries[name, entry.board] = entry
                click.echo(f"{entry} {seconds:.1f} s")
        except FpgaGenError as error:
            raise click.ClickException(f"{name}: {error}") from error
        write_entries(output, entries, list(NETWORKS))


if __name__ == "__main__":
    main()
