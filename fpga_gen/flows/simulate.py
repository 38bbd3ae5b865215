"""One frame through the RTL of a build directory, compared with the integer reference.

Read `SIMULATE` first: the named steps, run in order and timed. Input and output go through
layout.json alone, as on the board; only tensor tracing needs the schedule, which is compiled anew
and must be the stored program byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fpga_gen.builddir.artifacts import BuildDir, check_room
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import BuildDirError, FpgaGenError, SimulationError
from fpga_gen.flows.simulate_trace import DispatchClock, TraceRecorder
from fpga_gen.generated import compile_verilog
from fpga_gen.identity import open_build
from fpga_gen.images import (
    Preprocess,
    check_input,
    is_pixels,
    png_bytes,
    prepare,
    read_input,
    read_picture,
    shrunk,
    write_png,
)
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.report import Report, Simulation, utilisation
from fpga_gen.report.html import PICTURES
from fpga_gen.report.render import enter_figures, read_report
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.schedule.execute.compare import Mismatch, compare_maps
from fpga_gen.schedule.execute.interpreter import TracedMap
from fpga_gen.schedule.program import Schedule
from fpga_gen.simulate.board_dram import dram_config
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.runner import Frame, SimulationResult, simulate_frame
from fpga_gen.steps import Progress, Silent, run_steps
from fpga_gen_host.host_ops import mask_threshold, run_host_ops
from fpga_gen_host.pictures import full_mask, overlay, with_legend
from fpga_gen_host.regions import (
    InputLayout,
    OutputLayout,
    pack_input,
    unpack_output,
)

BAR_CYCLES = 10_000  # between two updates of the progress bar
REPORT_PICTURE = 640  # pixels of the longer side of the picture in the report


@dataclass
class SimulationFlow:
    """What the steps of one simulation have made so far.

    image: the path of a picture or of an array, or either itself, see `fpga_gen.images`.
    """

    directory: Path
    image: Path | np.ndarray
    trace: bool = False
    overlay: Path | None = None
    progress: Progress = field(default_factory=Silent)
    times: dict[str, float] = field(default_factory=dict)
    build: BuildDir = field(init=False)
    report: Report = field(init=False)
    params: EngineParams = field(init=False)
    memory_rate: float = field(init=False)
    qgraph: QuantGraph = field(init=False)
    preprocess: Preprocess = field(init=False)
    input_layout: InputLayout = field(init=False)
    output_layout: OutputLayout = field(init=False)
    picture: np.ndarray | None = None
    stored_input: np.ndarray = field(init=False)
    reference: dict[str, np.ndarray] = field(init=False)
    schedule: Schedule | None = None
    library: Path = field(init=False)
    result: SimulationResult = field(init=False)
    starts: tuple[int, ...] = ()
    maps: tuple[TracedMap, ...] = ()
    mismatch: Mismatch | None = None
    outputs: dict[str, np.ndarray] = field(init=False)


Step = tuple[str, Callable[[SimulationFlow], None]]


# --- the steps ------------------------------------------------------------------------------


def check_directory(flow: SimulationFlow) -> None:
    """Reads and verifies the build directory."""
    flow.build = build = open_build(flow.directory)
    flow.report = read_report(build)
    flow.params = build.params
    flow.memory_rate = build.memory_rate
    flow.qgraph = build.network
    if not flow.qgraph.output_names:
        raise BuildDirError(f"{flow.directory}: the network's outputs have no names: build again")
    flow.input_layout = build.layout.input
    flow.output_layout = build.layout.output
    flow.preprocess = build.layout.preprocess
    check_room(build, (PICTURES["simulation"],))


def read_image(flow: SimulationFlow) -> None:
    """Picture -> stored input map."""
    flow.picture = _picture(flow.image)
    if flow.overlay is not None:
        if flow.picture is None:
            raise FpgaGenError("--overlay draws on a picture, --image is an array")
        tensor = flow.qgraph.tensors[flow.qgraph.outputs[0]]
        if tensor.channels != 1 or tensor.height * tensor.width == 1:
            raise FpgaGenError(
                f"--overlay needs a network whose first output is a one-channel map, "
                f"{flow.qgraph.output_names[0]!r} has {tensor.channels} channels"
            )
    shape = flow.qgraph.host_input.model_shape
    if flow.picture is not None:
        image = prepare(flow.picture, shape, flow.preprocess)
    elif isinstance(flow.image, np.ndarray):
        image = check_input(flow.image, shape, "the input")
    else:
        image = read_input(flow.image, shape, flow.preprocess)
    flow.stored_input = quantise_input(flow.qgraph, image)


def _picture(image: Path | np.ndarray) -> np.ndarray | None:
    """Its pixels, uint8 (h, w, 3); None if it is the model's input."""
    if isinstance(image, np.ndarray):
        return image if is_pixels(image) else None
    return None if image.suffix.lower() == ".npy" else read_picture(image)


def run_reference(flow: SimulationFlow) -> None:
    """Stored input -> every map, by the integer interpreter."""
    flow.reference = run_integer(flow.qgraph, flow.stored_input)


def compile_trace(flow: SimulationFlow) -> None:
    """The schedule, for the places of intermediate maps; only for tensor tracing."""
    if not flow.trace:
        return
    flow.schedule = compile_schedule(
        flow.qgraph,
        flow.params,
        board_timing(flow.memory_rate),
        skip=flow.build.zero_skipping,
    )
    for name, data in (
        ("program.bin", flow.schedule.program),
        ("weights.bin", flow.schedule.weights),
    ):
        if data != flow.build.files[name]:
            raise BuildDirError(
                f"{flow.directory / name}: differs from what this version compiles: build again"
            )


def compile_simulator(flow: SimulationFlow) -> None:
    """Verilog -> simulator; kept in a cache by content."""
    flow.progress.detail("the first time this takes minutes")
    flow.library = compile_verilog(flow.build)


def run_frame(flow: SimulationFlow) -> None:
    """One frame, cycle by cycle."""
    expected = flow.report.estimate.cycles
    recorder = TraceRecorder(flow.schedule) if flow.schedule else None
    clock = DispatchClock(len(flow.report.timeline.activities))
    shown = 0

    def on_layer(layer: int, device: SimulatedDevice) -> None:
        nonlocal shown
        clock(layer, device)
        if recorder:
            recorder(layer, device)
        if device.cycle >= shown + BAR_CYCLES:
            shown = device.cycle
            text = f"{shown:,} of about {expected:,} cycles"
            flow.progress.detail(text, min(1.0, shown / expected))

    frame = Frame(
        program=flow.build.program,
        weights=flow.build.weights,
        input=pack_input(flow.input_layout, flow.stored_input),
        output_bytes=flow.output_layout.bytes,
        design_hash=flow.build.design_hash,
    )
    flow.result = simulate_frame(
        frame,
        flow.params,
        flow.library,
        dram_config(flow.report.clock_mhz, frame, flow.memory_rate),
        expected_cycles=expected,
        on_layer=on_layer,
    ).check()
    flow.starts = clock.finish(flow.result)
    if recorder:
        flow.maps = recorder.finish()


def compare_results(flow: SimulationFlow) -> None:
    """Every traced map in program order, then the outputs."""
    stored = unpack_output(flow.output_layout, flow.result.output)
    outputs = tuple(TracedMap(name, -1, 0, stored[name]) for name in flow.qgraph.outputs)
    flow.mismatch = compare_maps(flow.qgraph, flow.reference, (*flow.maps, *outputs))
    flow.outputs = run_host_ops(
        flow.qgraph, {n: dequantise(flow.qgraph, n, stored[n]) for n in flow.qgraph.outputs}
    )


def update_report(flow: SimulationFlow) -> None:
    """The simulation's figures -> report.json and what is rendered from it."""
    result, report = flow.result, flow.report
    simulation = Simulation(
        cycles=result.cycles,
        fps=report.clock_mhz * 1e6 / result.cycles,
        utilisation=utilisation(
            report.model.macs - report.estimate.skipped_macs,
            result.cycles,
            flow.params.macs_per_cycle,
        ),
        dram_read_bytes=result.dram_bytes_read,
        dram_write_bytes=result.dram_bytes_written,
        bit_exact=flow.mismatch is None,
        tensors_compared=len(complete_tensors(flow)),
        wall_seconds=round(result.wall_seconds, 3),
        image=flow.image.name if isinstance(flow.image, Path) else "array",
        counters={
            name: value
            for name, value in result.counters.items()
            if name in ("BUSY", "STALL_WEIGHTS", "STALL_DRAIN", "STALL_INPUT")
        },
        starts=flow.starts,
    )
    pictures = {}
    mask = predicted_mask(flow)
    if flow.picture is not None and mask is not None:
        drawn = overlay(flow.picture, mask, flow.preprocess.preparation)
        pictures[PICTURES["simulation"]] = png_bytes(shrunk(drawn, REPORT_PICTURE))
    flow.build, flow.report = enter_figures(flow.build, pictures, simulation=simulation)


def judge(flow: SimulationFlow) -> None:
    """SimulationError names the first element that differs."""
    if flow.mismatch is not None:
        raise SimulationError(f"RTL and integer reference differ: {flow.mismatch}")


def write_overlay(flow: SimulationFlow) -> None:
    """Picture with the predicted mask, and a legend below."""
    if flow.overlay is None or flow.picture is None:
        return
    mask = predicted_mask(flow)
    if mask is None:
        shape = flow.outputs[flow.qgraph.output_names[0]].shape
        raise FpgaGenError(f"--overlay: the model's result has shape {shape}, not a map")
    how = flow.preprocess.preparation
    size = (flow.picture.shape[0], flow.picture.shape[1])
    drawn = overlay(flow.picture, mask, how)
    write_png(flow.overlay, with_legend(drawn, full_mask(mask, size, how)))


SIMULATE: tuple[Step, ...] = (
    ("check build directory", check_directory),
    ("read picture", read_image),
    ("integer reference", run_reference),
    ("schedule for tracing", compile_trace),
    ("compile simulator", compile_simulator),
    ("simulate frame", run_frame),
    ("compare", compare_results),
    ("update report", update_report),
    ("verdict", judge),
    ("write overlay", write_overlay),
)


def simulate_build(
    directory: Path,
    image: Path | np.ndarray,
    trace: bool = False,
    overlay: Path | None = None,
    progress: Progress | None = None,
) -> SimulationFlow:
    """Simulates one frame of a build directory; SimulationError if a bit differs."""
    flow = SimulationFlow(directory, image, trace, overlay, progress or Silent())
    return run_steps(flow, SIMULATE)


# --- helpers --------------------------------------------------------------------------------


def predicted_mask(flow: SimulationFlow) -> np.ndarray | None:
    """bool (h, w) of the first output, None if that is no map of one channel."""
    values = flow.outputs[flow.qgraph.output_names[0]]
    if values.ndim != 4 or values.shape[1] != 1 or values[0, 0].size == 1:
        return None
    return values[0, 0] > mask_threshold(flow.qgraph)


def complete_tensors(flow: SimulationFlow) -> set[str]:
    """Tensors of which every row was compared: the outputs, and traced maps (some in bands)."""
    rows: dict[str, set[int]] = {}
    for item in flow.maps:
        band = range(item.first_row, item.first_row + item.values.shape[1])
        rows.setdefault(item.tensor, set()).update(band)
    tensors = flow.qgraph.tensors
    whole = {name for name, seen in rows.items() if len(seen) == tensors[name].height}
    return whole | set(flow.qgraph.outputs)
