"""This engine with as many multipliers as NNgen's, on NNgen's memory, in RTL."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.networks import CALIBRATION_SEED, draw_input
from fpga_gen.contract.address import ROW_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError, SimulationError
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.generated import engine_verilog
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Graph, conv_macs
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.program import Schedule
from fpga_gen.simulate.build import build_simulator
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.runner import Frame, simulate_frame
from fpga_gen_host.regions import pack_input, unpack_output

MULTIPLIERS = 288  # of NNgen with 8 inputs x 4 outputs x 9 taps in parallel
CALIBRATION_IMAGES = 8
MODES = ((1,), (1, 2), (1, 3), (1, 2, 3), (1, 2, 4), (1, 4))
MEMORY_BYTES = 400_000  # feature-map memory of the candidates: both works stay on chip
# NNgen's memory (veriloggen's AxiMemoryModel as NNgen's examples use it): one port of 16 bytes, 15
# of 19 cycles move data, one burst at a time, 13 cycles from a read's address to its first beat, 2
# from the last beat of a write to its response. That model moves reads and writes side by side and
# takes the next write's address meanwhile; this one does neither.
NNGEN_DRAM = DramConfig(
    size=16 << 20,
    bytes_per_cycle=16,
    sustained=1.0,
    bucket_bytes=16,
    burst_overhead=0,
    refresh_interval=19,
    refresh_length=4,
    read_latency=13,
    write_latency=2,
    outstanding=1,
)
BURST = 64  # beats of this engine's bursts


def memory_timing() -> Timing:
    """The cycle model on NNgen's memory."""
    cycles = (
        BURST
        * NNGEN_DRAM.refresh_interval
        / (NNGEN_DRAM.refresh_interval - NNGEN_DRAM.refresh_length)
    )
    return Timing(
        read_efficiency=BURST / (cycles + NNGEN_DRAM.read_latency),
        write_efficiency=BURST / (cycles + NNGEN_DRAM.write_latency),
        dram_latency=NNGEN_DRAM.read_latency,
    )


@dataclass(frozen=True, eq=False)
class SmallWork:
    """A work, quantised: 8 bits for every map and weight, no SP2 columns."""

    graph: Graph
    qgraph: QuantGraph
    macs: int

    @property
    def lower_bound(self) -> int:
        """Cycles with every multiplier busy in every cycle."""
        return -(-self.macs // MULTIPLIERS)


@dataclass(frozen=True, eq=False)
class SmallResult:
    """Simulated. sqnr_db: of the result against the float network."""

    params: EngineParams
    schedule: Schedule
    cycles: int
    dram_bytes: int
    sqnr_db: float


def prepare(model: Path) -> SmallWork:
    """Imports and quantises; calibrated on other draws of the input than the one that is run."""
    graph = optimise(import_onnx(model))
    images = [draw_input(CALIBRATION_SEED + k) for k in range(CALIBRATION_IMAGES)]
    options = QuantOptions(wide_tensors=(), wide_input=False)
    shape = next(candidates())
    qgraph = quantise(graph, shape, images, scheme="fixed8", options=options)
    return SmallWork(graph, qgraph, conv_macs(graph))


def candidates() -> Iterator[EngineParams]:
    """Every shape of 288 MACs per cycle that the generator can make, all columns in DSPs."""
    for in_channels in (4, 8, 16):
        for pixels in range(1, MULTIPLIERS + 1):
            if MULTIPLIERS % (pixels * in_channels):
                continue
            for modes in MODES:
                try:
                    yield _shape(pixels, in_channels, modes)
                except ScheduleError:
                    continue  # not a shape that the generator knows


def _shape(pixels: int, in_channels: int, modes: tuple[int, ...]) -> EngineParams:
    words = MEMORY_BYTES // in_channels // (pixels * modes[-1])
    rows = 1 << max(9, min(ROW_BITS - 1, math.ceil(math.log2(max(2, words)))))  # signed rows
    return EngineParams(
        pixels=pixels,
        in_channels=in_channels,
        dsp_columns=MULTIPLIERS // (pixels * in_channels),
        sp2_columns=0,
        modes=modes,
        tile_groups=16,
        bank_rows=rows,
        ports=1,
        weight_words=4096,
        program_words=4096,
    )


def best_shape(work: SmallWork, tell: Callable[[str], None]) -> Schedule:
    """The candidate with the fewest cycles in the model."""
    timing, best = memory_timing(), None
    for params in candidates():
        try:
            schedule = compile_schedule(work.qgraph, params, timing)
        except ScheduleError:
            continue  # the work does not fit this shape
        if best is None or schedule.estimate.cycles < best.estimate.cycles:
            best = schedule
            tell(f"{shape_text(params)}: {schedule.estimate.cycles:,} cycles (model)")
    if best is None:
        raise ScheduleError(f"no shape of {MULTIPLIERS} MACs per cycle takes {work.graph.name}")
    return best


def shape_text(params: EngineParams) -> str:
    """Such as '3 px x 16 in x 6 out, modes 1 3'."""
    modes = " ".join(map(str, params.modes))
    return f"{params.pixels} px x {params.in_channels} in x {params.columns} out, modes {modes}"


def run(work: SmallWork, schedule: Schedule) -> SmallResult:
    """One frame through the RTL; SimulationError unless every bit equals the integer reference."""
    params, qgraph = schedule.params, work.qgraph
    image = draw_input()
    stored = quantise_input(qgraph, image)
    frame = Frame(
        schedule.program,
        schedule.weights,
        pack_input(schedule.host_input, stored),
        schedule.host_output.bytes,
    )
    with tempfile.TemporaryDirectory(prefix="fpga-gen-bench-") as folder:
        for name, text in engine_verilog(params).items():
            (Path(folder) / name).write_text(text)
        library = build_simulator(sorted(Path(folder).iterdir()))
    expected = schedule.estimate.cycles
    result = simulate_frame(frame, params, library, NNGEN_DRAM, expected_cycles=expected).check()
    found = unpack_output(schedule.host_output, result.output)
    reference = run_integer(qgraph, stored)
    for name in qgraph.outputs:
        if not np.array_equal(found[name], reference[name]):
            raise SimulationError(f"{work.graph.name}: RTL and integer reference differ in {name}")
    name = qgraph.outputs[0]
    exact = run_float(work.graph, image)[name]
    return SmallResult(
        params=params,
        schedule=schedule,
        cycles=result.cycles,
        dram_bytes=result.dram_bytes_read + result.dram_bytes_written,
        sqnr_db=sqnr_db(exact, dequantise(qgraph, name, found[name])),
    )


def float_result(work: SmallWork) -> np.ndarray:
    """Result of the float network on the input that is run, (C, H, W)."""
    return run_float(work.graph, draw_input())[work.qgraph.outputs[0]]


def sqnr_db(exact: np.ndarray, found: np.ndarray) -> float:
    """Signal to quantisation noise."""
    noise = float(np.square(exact - found).sum())
    return 10 * math.log10(float(np.square(exact).sum()) / noise) if noise else math.inf
