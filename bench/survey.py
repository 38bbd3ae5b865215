"""`python -m bench.survey` writes docs/networks.md: networks that people bring, on some boards."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnxruntime

from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import FpgaGenError
from fpga_gen.flows.check import Check, check_model
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import conv_macs
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer, sqnr_db
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING
from fpga_gen.sizing.sums import with_cheap_sums
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_models.zoo import NETWORKS, export_network

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "networks.md"
BOARDS = ("zcu104", "kv260")
NOT_RUN = "not run"
INTRODUCTION = """# Networks that people bring

Written by `make networks`; do not edit. The networks are those of `fpga_gen_models.zoo`, with
random weights; `fpga-gen models export NAME` writes each as ONNX.

* *check*: what `fpga-gen check` says for the engine of the board's own file, schedule included.
  Cycles are estimated by the cycle model for one frame at a time; frame/s at the board's clock;
  utilisation is the multiply-accumulates of the float network over cycles times multipliers. None
  of it was run on hardware. `fpga-gen build` may find a better engine than the board's own.
* *agreement*: signal to noise of the integer reference's first output against onnxruntime's float
  output on a drawn picture, in dB, calibrated on drawn pictures, weights rounded to nearest.
  Random weights make this a test of the arithmetic, not of accuracy.
"""


@dataclass(frozen=True)
class Result:
    """One network on one board. seconds: that the check took."""

    name: str
    macs: int
    board: str
    found: Check
    clock_mhz: float
    seconds: float


def survey(name: str, board: str, folder: Path) -> Result:
    """Checks one network for one board."""
    path = folder / f"{name}.onnx"
    config = BuildConfig(path, board=board)
    began = time.monotonic()
    found = check_model(config)
    seconds = time.monotonic() - began
    macs = 0 if found.params is None else conv_macs(import_onnx(path))
    clock = config.resolve_clock(config.load_board())
    return Result(name, macs, board, found, clock, seconds)


def agreement(path: Path, params: EngineParams) -> float:
    """SQNR in dB of the first result of the integer reference against onnxruntime."""
    graph = optimise(import_onnx(path))
    scheme = "mixed" if params.sp2_columns else "fixed8"
    options = QuantOptions(compensate=False)
    qgraph = quantise(graph, params, None, scheme=scheme, options=options)
    qgraph = with_cheap_sums(graph, qgraph, params, DEFAULT_TIMING, True)
    image = np.random.default_rng(7).normal(size=graph.host_input.model_shape).astype(np.float32)
    session = onnxruntime.InferenceSession(path)
    source = session.get_inputs()[0].name
    want = session.run(None, {source: image.reshape(graph.host_input.array_shape)})[0]
    stored = run_integer(qgraph, quantise_input(qgraph, image))
    real = {name: dequantise(qgraph, name, stored[name]) for name in qgraph.outputs}
    return sqnr_db(want, next(iter(run_host_ops(qgraph, real).values())))


def row(result: Result, sqnr: str) -> str:
    """One line of the table."""
    found, shape = result.found, "x".join(map(str, NETWORKS[result.name].shape))
    head = f"| {result.name} | {shape} | {result.board} |"
    if found.problems or found.params is None:
        first = found.problems[0]
        more = f" ({len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        return f"{head} no: {first.op} {first.reason}{more} | | | | | |"
    rate = result.clock_mhz * 1e6 / found.cycles
    used = result.macs / (found.cycles * found.params.macs_per_cycle)
    return (
        f"{head} yes | {result.macs / 1e9:.2f} | {found.cycles:,} | {rate:,.0f} | "
        f"{100 * used:.0f} % | {sqnr} |"
    )


@click.command()
@click.option("--only", default="", help="Networks whose name holds this text.")
@click.option(
    "--agreement", "with_agreement", default="", help="Compare integers of these as well."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=PAGE)
def main(only: str, with_agreement: str, output: Path) -> None:
    """Checks the networks for zcu104 and kv260 and writes the table."""
    lines = [
        INTRODUCTION,
        "| network | input | board | check | GMAC | cycles | frame/s | utilisation | agreement |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="fpga-gen-networks-") as place:
        folder = Path(place)
        for name in NETWORKS:
            if only not in name:
                continue
            path = export_network(name, folder / f"{name}.onnx")
            sqnr = NOT_RUN
            for board in BOARDS:
                try:
                    result = survey(name, board, folder)
                except FpgaGenError as error:
                    raise click.ClickException(f"{name} on {board}: {error}") from error
                params = result.found.params
                wanted = name in with_agreement.split(",") and not result.found.problems
                if wanted and params is not None and sqnr == NOT_RUN:
                    sqnr = f"{agreement(path, params):.1f}"
                lines.append(row(result, sqnr))
                click.echo(f"{lines[-1]} {result.seconds:.1f} s")
            path.unlink()
    output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
