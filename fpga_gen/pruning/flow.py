"""`fpga-gen prune`: weight slots become zero until a frame meets its cycles.

The compiler says which slots there are on an engine, in the order of channels that it would choose,
and what each costs; its schedule of the whole network says when it is enough. Which slots go, and
what the other weights become, follows from calibration pictures, which need no labels.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from onnx import ModelProto

from fpga_gen.builddir.config import BuildConfig
from fpga_gen.disk import replace_file
from fpga_gen.errors import BuildDirError, FpgaGenError, ScheduleError, UnsupportedModel
from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS
from fpga_gen.pipeline import READ, Flow, choose_engine
from fpga_gen.pruning.groups import Pruner
from fpga_gen.pruning.onnx_weights import LIKE, OnnxWeights
from fpga_gen.pruning.refit import SAMPLES, refitted
from fpga_gen.pruning.sensitivity import sensitivities
from fpga_gen.quant.calibrate import calibrate
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import calibration_images, choose_wide_maps
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.sizing.choose import for_network
from fpga_gen.sizing.standin import standin
from fpga_gen.sizing.sums import with_cheap_sums
from fpga_gen.steps import Progress, Silent, run_steps

ROUNDS = 12  # of choosing slots and making the schedule
PROBES = 8  # pictures on which the effect on the outputs is measured
FITTED = 16  # pictures to which the weights are fitted
OVERSHOOT = 1.02  # a slot saves less than its own cycles: tails, exit path
MOMENTS = QuantOptions(samples=SAMPLES, samples_per_weight=8)


@dataclass(frozen=True)
class FrameGoal:
    """What a frame may take at most; one of them is given. cycles: of the engine; fps: frames per
    second at least; share: of the cycles that it takes now."""

    cycles: int | None = None
    fps: float | None = None
    share: float | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.cycles, self.fps, self.share) if v is not None]
        if len(given) != 1:
            raise FpgaGenError("a goal is needed: either cycles, frames per second or a share")
        if not 0 < given[0] < np.inf or (self.share or 0) > 1:
            raise FpgaGenError(
                f"the goal {given[0]:g} is out of range: cycles and frames per second are above 0, "
                "a share between 0 and 1"
            )

    def limit(self, now: int, clock_mhz: float) -> int:
        """Cycles of a frame that takes `now`."""
        if self.fps is not None:
            return int(clock_mhz * 1e6 / self.fps)
        return self.cycles if self.cycles is not None else int((self.share or 1) * now)


@dataclass(eq=False)
class PruneFlow(Flow):
    """What the steps have made so far, beside what a build makes.

    output: the file; fixed: layers that keep their weights; wide: maps of 16 bits; cycles: of every
    round, the first without further zeros; noise: at the outputs, a share of their signal.
    """

    goal: FrameGoal = FrameGoal(share=1.0)
    output: Path = Path("pruned.onnx")
    weights: OnnxWeights = field(init=False)
    fixed: set[str] = field(default_factory=set)
    pruner: Pruner = field(init=False)
    wide: tuple[str, ...] = ()
    pruned: Graph = field(init=False)
    cycles: list[int] = field(default_factory=list)
    noise: float = 0.0

    @property
    def noise_db(self) -> float | None:
        """Signal to noise at the outputs, before the weights are fitted; None without noise."""
        return -10 * math.log10(self.noise) if self.noise > 0 else None

    @property
    def slots(self) -> tuple[int, int]:
        """Weight slots that might go, and those that are gone."""
        return self.pruner.slots


def check_output(flow: PruneFlow) -> None:
    """What cannot be written is told before the work; the model itself is never overwritten."""
    output = flow.output
    if output.is_dir() or not output.parent.is_dir():
        reason = "is a folder" if output.is_dir() else "its folder does not exist"
        raise BuildDirError(f"{output}: cannot be written: {reason}")
    if output.exists() and output.samefile(flow.config.model):
        raise BuildDirError(f"{output}: is the model itself; give the pruned one another name")


def name_engine(flow: PruneFlow) -> None:
    """Of the engines that a search found the best that options can name, so that a build has the
    same: with the memories of the board's own, which may be too small for some."""
    if not flow.candidates:
        return
    found = [c.params for c in flow.candidates]
    for params in (*found, flow.config.own_array(flow.board)):
        asked = replace(
            flow.config,
            array=params.figures,
            modes=params.modes,
            exit_pixels=params.exit_pixels,
        )
        try:
            named = asked.resolve_params(flow.board)
        except FpgaGenError:
            continue
        break
    flow.params = for_network(flow.graph, named)
    flow.memory_rate = flow.board.read_bytes_per_cycle(named.ports, flow.clock_mhz)


def read_weights(flow: PruneFlow) -> None:
    """The file's own weights; UnsupportedModel if no layer has any that can be changed."""
    if flow.graph.has_map_scales:
        raise UnsupportedModel(
            f"{flow.config.model}: is quantised: prune the float model, then quantise it"
        )
    flow.weights = OnnxWeights(flow.config.model)
    convs = [node for node in flow.graph.nodes if isinstance(node, Conv)]
    free = [n for n in convs if flow.graph.input not in n.inputs and flow.weights.of(n)]
    flow.fixed = {n.name for n in convs} - {n.name for n in free}
    if not free:
        raise UnsupportedModel(
            f"{flow.config.model}: no layer has float weights of its own in the file; prune the "
            "model before its weights are made int8"
        )


def find_slots(flow: PruneFlow) -> None:
    """Moments of the layers' inputs, effect of their errors, and the order of the slots."""
    graph, seed, progress = flow.graph, flow.config.seed, flow.progress.detail
    images = calibration_images(graph, flow.images, seed)
    flow.wide = choose_wide_maps(graph, flow.images, seed=seed, progress=progress).wide
    calibration = calibrate(graph, images, seed=seed, options=MOMENTS, progress=progress)
    effect = sensitivities(graph, images[:PROBES], seed, progress)
    flow.pruner = Pruner(graph, flow.params, calibration, effect, flow.fixed, progress)


def prune(flow: PruneFlow) -> None:
    """Slots go until the schedule meets the goal; ScheduleError if it cannot."""
    for number in range(ROUNDS):
        flow.pruned = flow.pruner.pruned()
        flow.cycles.append(_frame_cycles(flow))
        limit = flow.goal.limit(flow.cycles[0], flow.clock_mhz)
        flow.progress.detail(f"{flow.cycles[-1]:,} of {limit:,} cycles", number / ROUNDS)
        if flow.cycles[-1] <= limit:
            return
        total, gone = flow.slots
        if gone == total:
            break
        flow.noise += flow.pruner.choose((flow.cycles[-1] - limit) * OVERSHOOT)
    raise ScheduleError(
        f"{limit:,} cycles a frame were not reached, {min(flow.cycles):,} were: ask for less, or "
        "train with fewer weights"
    )


def _frame_cycles(flow: PruneFlow) -> int:
    """Of the pruned graph, by its schedule; with 8-bit maps alone where it needs that to fit."""
    timing = board_timing(flow.memory_rate)
    network = standin(flow.pruned, flow.params, flow.wide)
    network = with_cheap_sums(flow.pruned, network, flow.params, timing, True)
    try:
        return compile_schedule(network, flow.params, timing).estimate.cycles
    except ScheduleError:
        if not flow.wide:
            raise
    flow.wide = ()
    return _frame_cycles(flow)


def fit_weights(flow: PruneFlow) -> None:
    """What is left makes up for what went, layer after layer."""
    images = calibration_images(flow.graph, flow.images, flow.config.seed)
    picked = images[:: -(-len(images) // FITTED)]
    flow.pruned = refitted(
        flow.graph, flow.pruned, picked, flow.fixed, flow.config.seed, flow.progress.detail
    )


def write_model(flow: PruneFlow) -> None:
    """The pruned weights into a copy of the file, which is read again before it is kept."""
    for before, after in zip(flow.graph.nodes, flow.pruned.nodes, strict=True):
        if before is not after:
            assert isinstance(before, Conv)
            assert isinstance(after, Conv)
            flow.weights.update(before, after)
    data = _serialised(flow.weights.model)
    with tempfile.TemporaryDirectory(prefix="fpga-gen-") as folder:
        copy = Path(folder) / "pruned.onnx"
        copy.write_bytes(data)
        again = import_untrusted(copy, input_shape=flow.config.input_shape)
    again = optimise(again, NORMALISATIONS[flow.config.preprocess.normalise])
    if not _alike(flow.pruned, again, max(LIKE, flow.weights.rounding)):
        raise FpgaGenError(
            f"{flow.config.model}: the pruned weights do not come back from the file as they were "
            "written; export the model with its BatchNorms folded"
        )
    try:
        replace_file(flow.output, data)
    except OSError as error:
        raise BuildDirError(f"{flow.output}: cannot be written: {error.strerror}") from error


def _serialised(model: ModelProto) -> bytes:
    try:
        return model.SerializeToString(deterministic=True)
    except ValueError as error:  # of protobuf: over 2 GiB
        raise UnsupportedModel("the model has more than 2 GiB of weights") from error


def _alike(first: Graph, second: Graph, room: float) -> bool:
    """Whether the convolutions are equal but for rounding; room: relative to the largest."""
    pairs = [[n for n in g.nodes if isinstance(n, Conv)] for g in (first, second)]
    if len(first.nodes) != len(second.nodes) or len(pairs[0]) != len(pairs[1]):
        return False
    return all(
        len(a.terms) == len(b.terms)
        and all(_close(s.weight, t.weight, room) for s, t in zip(a.terms, b.terms, strict=True))
        and _close(a.bias, b.bias, room)
        for a, b in zip(*pairs, strict=True)
    )


def _close(first: np.ndarray, second: np.ndarray, room: float) -> bool:
    if first.shape != second.shape:
        return False
    largest = max(float(np.abs(first).max(initial=0)), 1e-6)
    return bool((np.abs(first - second) <= room * largest).all())


PRUNE = (
    ("check output", check_output),
    *READ,
    ("choose engine", choose_engine),
    ("name engine", name_engine),
    ("read weights", read_weights),
    ("find slots", find_slots),
    ("prune", prune),
    ("fit weights", fit_weights),
    ("write model", write_model),
)


def prune_model(
    config: BuildConfig, goal: FrameGoal, output: Path, progress: Progress | None = None
) -> PruneFlow:
    """Writes a copy of the model to `output` whose frames meet the goal on the config's engine."""
    flow = PruneFlow(config, None, progress or Silent(), goal=goal, output=output)
    return run_steps(flow, PRUNE)
