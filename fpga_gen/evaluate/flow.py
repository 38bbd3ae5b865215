"""A labelled folder through a build: float graph, integer reference and, for some, the RTL.

Read `EVALUATE` first: the named steps, run in order and timed. The RTL part is the frame of
flows/simulate.py, picture by picture, in this process or spread over many (frames.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fpga_gen.builddir.artifacts import to_json, write_folder
from fpga_gen.builddir.digest import model_sha256
from fpga_gen.contract.column_kinds import COARSE
from fpga_gen.errors import BuildDirError, FpgaGenError, SimulationError
from fpga_gen.evaluate.dataset import THRESHOLD as MASK_THRESHOLD
from fpga_gen.evaluate.dataset import check_aspect, find_pairs, read_grey, truth_at
from fpga_gen.evaluate.frames import simulate_pictures
from fpga_gen.evaluate.masks import (
    PackedMask,
    Sample,
    SqnrSums,
    by_dice,
    evenly,
    mask_of,
    mean_scores,
    output_size,
)
from fpga_gen.evaluate.result import Evaluation, PictureScores, render_evaluation
from fpga_gen.evaluate.sheet import draw_sheet, sheet_ranks
from fpga_gen.flows.simulate import SimulationFlow, check_directory, compile_simulator
from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS, PictureError, png_bytes, prepare, read_picture
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.report import layer_facts, mac_share
from fpga_gen.report.accuracy import Accuracy, TensorSqnr
from fpga_gen.report.render import enter_figures
from fpga_gen.spread import check_place
from fpga_gen.steps import Progress, Silent, run_steps
from fpga_gen_host.host_ops import run_host_ops

WORST_TENSORS = 10
FILES: tuple[str, ...] = ("evaluation.json", "evaluation.md", "evaluation.png")


@dataclass
class EvaluationFlow:
    """What the steps of one evaluation have made so far.

    rtl: number of pictures for the RTL; model: the ONNX file of the build, None: no float column;
    output: folder of the results, None: the build directory; only: file that names the pictures to
    take, None: all; workers, scheduler: processes for the RTL, as of `fpga_gen.spread.spread`.
    """

    directory: Path
    images: Path
    masks: Path
    rtl: int = 0
    model: Path | None = None
    output: Path | None = None
    only: Path | None = None
    workers: int = 1
    scheduler: str | None = None
    progress: Progress = field(default_factory=Silent)
    times: dict[str, float] = field(default_factory=dict)
    simulation: SimulationFlow = field(init=False)
    size: tuple[int, int] = field(init=False)
    graph: Graph | None = None
    samples: list[Sample] = field(default_factory=list)
    unlabelled: tuple[str, ...] = ()
    dataset_sha256: str = ""
    tensors: tuple[TensorSqnr, ...] = ()
    ranked: list[Sample] = field(default_factory=list)
    simulated: list[Sample] = field(default_factory=list)
    evaluation: Evaluation = field(init=False)
    sheet: bytes = b""

    def input_of(self, sample: Sample) -> np.ndarray:
        """The model's input, float32 (C, H, W)."""
        shape = self.simulation.qgraph.host_input.model_shape
        return prepare(read_picture(sample.pair.image), shape, self.simulation.preprocess)

    def mask(self, sample: Sample, results: dict[str, np.ndarray]) -> np.ndarray:
        """Predicted mask of the model's results."""
        sim = self.simulation
        return mask_of(sim.qgraph, results, sample.picture_size, sim.preprocess)


Step = tuple[str, Callable[[EvaluationFlow], None]]


# --- the steps ------------------------------------------------------------------------------


def check_build(flow: EvaluationFlow) -> None:
    """Reads and verifies the build directory; its network must give a mask."""
    if flow.workers > 1 or flow.scheduler is not None:
        if not flow.rtl:
            raise FpgaGenError("workers simulate the pictures of --rtl: say how many, --rtl N")
        check_place(flow.scheduler)
    flow.simulation = SimulationFlow(flow.directory, flow.images)
    check_directory(flow.simulation)
    flow.size = output_size(flow.simulation.qgraph)
    if flow.output is None or not flow.output.exists():
        return
    if flow.output.samefile(flow.directory):
        flow.output = None
    elif not flow.output.is_dir():
        raise BuildDirError(f"{flow.output}: exists and is not a folder; choose another -o")


def import_float(flow: EvaluationFlow) -> None:
    """The float graph, if the model was given; it must be the one that was built."""
    if flow.model is None:
        return
    built = flow.simulation.build.model_sha256
    graph = import_untrusted(flow.model, input_shape=flow.simulation.build.input_shape)
    if model_sha256(flow.model) != built:
        raise BuildDirError(
            f"{flow.model}: not the model of {flow.directory} (sha256 {built[:16]}...): give that "
            "model, or leave --model out"
        )
    normalise = flow.simulation.preprocess.normalise
    flow.graph = optimise(graph, NORMALISATIONS[normalise])


def read_labels(flow: EvaluationFlow) -> None:
    """Every picture and mask once: a bad file is found before the long run."""
    found = find_pairs(flow.images, flow.masks, flow.only)
    flow.unlabelled = found.unlabelled
    digest, grey = hashlib.sha256(), False
    for number, pair in enumerate(found.pairs):
        flow.progress.detail(pair.name, number / len(found.pairs))
        picture, mask = read_picture(pair.image), read_grey(pair.mask)
        size = (picture.shape[0], picture.shape[1])
        check_aspect(pair, size, (mask.shape[0], mask.shape[1]))
        truth = truth_at(mask > MASK_THRESHOLD, flow.size, size, flow.simulation.preprocess)
        flow.samples.append(Sample(pair, size, PackedMask.of(truth)))
        grey = grey or bool(mask.any())
        for path in (pair.image, pair.mask):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    flow.dataset_sha256 = digest.hexdigest()
    if grey and not any(s.truth.get().any() for s in flow.samples):
        raise PictureError(
            f"{flow.masks}: no mask has a pixel above {MASK_THRESHOLD}, yet not all are black: a "
            "mask is an 8-bit picture whose foreground is 255"
        )


def run_references(flow: EvaluationFlow) -> None:
    """Every picture through the integer interpreter and, if there is one, the float graph."""
    qgraph = flow.simulation.qgraph
    sums = SqnrSums(qgraph)
    for number, sample in enumerate(flow.samples):
        flow.progress.detail(sample.pair.name, number / len(flow.samples))
        image = flow.input_of(sample)
        stored = run_integer(qgraph, quantise_input(qgraph, image))
        real = {n: dequantise(qgraph, n, stored[n]) for n in qgraph.outputs}
        sample.add("integer", flow.mask(sample, run_host_ops(qgraph, real)))
        if flow.graph is not None:
            maps = run_float(flow.graph, image)
            sample.add("float", flow.mask(sample, run_host_ops(flow.graph, maps)))
            sums.add(maps, stored)
    flow.ranked = by_dice(flow.samples)
    if flow.graph is not None:
        flow.tensors = sums.tensors()


def compile_rtl(flow: EvaluationFlow) -> None:
    """Verilog -> simulator, if a picture is to go through it; the workers of this machine find it
    in the cache, those of a cluster make their own."""
    if flow.rtl and flow.scheduler is None:
        flow.simulation.progress = flow.progress
        compile_simulator(flow.simulation)


def run_rtl(flow: EvaluationFlow) -> None:
    """The worst picture and others evenly spaced in the ranking."""
    flow.simulated = [flow.ranked[i] for i in evenly(len(flow.ranked), flow.rtl)]
    if not flow.simulated:
        return
    samples = {sample.pair.image: sample for sample in flow.simulated}
    for picture, found in simulate_pictures(
        flow.simulation, [*samples], flow.progress, flow.workers, flow.scheduler
    ):
        sample = samples[picture]
        sample.add("rtl", found.packed().get())
        sample.cycles = found.cycles
        sample.mismatch = found.mismatch


def score(flow: EvaluationFlow) -> None:
    """Masks of all pictures -> Evaluation."""
    sources = ("float", "integer") if flow.graph is not None else ("integer",)
    scores = [mean_scores(source, flow.samples) for source in sources]
    if flow.simulated:
        again = sources if len(flow.simulated) < len(flow.samples) else ()
        scores += [mean_scores(source, flow.simulated) for source in (*again, "rtl")]
    sim, worst = flow.simulation, flow.ranked[0]
    layers = layer_facts(sim.qgraph)
    folder = flow.images.resolve()
    accuracy = Accuracy(
        folder=f"{folder.parent.name}/{folder.name}",
        dataset_sha256=flow.dataset_sha256,
        images=len(flow.samples),
        unlabelled=len(flow.unlabelled),
        size=flow.size,
        fit=sim.preprocess.fit,
        scores=tuple(scores),
        worst_image=worst.pair.name,
        worst_dice=worst.metrics["integer"].dice,
        mac_shares={kind.title: mac_share(kind, layers) for kind in COARSE},
        worst_tensors=flow.tensors[:WORST_TENSORS],
        rtl_bit_exact=not any(s.mismatch for s in flow.simulated) if flow.simulated else None,
    )
    flow.evaluation = Evaluation(
        model=sim.report.model.name,
        model_sha256=sim.report.model.sha256,
        board=sim.report.board.name,
        accuracy=accuracy,
        tensors=flow.tensors,
        pictures=tuple(PictureScores.of(s) for s in flow.ranked),
        unlabelled=flow.unlabelled,
        tool_version=sim.report.tool_version,
    )


def draw(flow: EvaluationFlow) -> None:
    """The picture sheet: the worst picture, then others down the ranking to the best."""
    simulated = [flow.ranked.index(s) for s in flow.simulated]
    ranks = sheet_ranks(len(flow.ranked), simulated)
    flow.sheet = png_bytes(draw_sheet(flow.ranked, ranks))


def write_results(flow: EvaluationFlow) -> None:
    """evaluation.* and the entry `accuracy` of report.json."""
    texts = (
        to_json(flow.evaluation.to_dict()),
        render_evaluation(flow.evaluation).encode(),
        flow.sheet,
    )
    files: dict[str, bytes] = dict(zip(FILES, texts, strict=True))
    if flow.output is not None:
        write_folder(flow.output, files)
        files = {}
    sim = flow.simulation
    sim.build, sim.report = enter_figures(sim.build, files, accuracy=flow.evaluation.accuracy)


def judge(flow: EvaluationFlow) -> None:
    """SimulationError names the first picture and element in which RTL and reference differ."""
    for sample in flow.simulated:
        if sample.mismatch is not None:
            raise SimulationError(
                f"{sample.pair.name}: RTL and integer reference differ: {sample.mismatch}"
            )


EVALUATE: tuple[Step, ...] = (
    ("check build directory", check_build),
    ("import float model", import_float),
    ("read pictures and masks", read_labels),
    ("references", run_references),
    ("compile simulator", compile_rtl),
    ("simulate frames", run_rtl),
    ("score", score),
    ("picture sheet", draw),
    ("write results", write_results),
    ("verdict", judge),
)


def evaluate_build(
    directory: Path,
    images: Path,
    masks: Path,
    rtl: int = 0,
    model: Path | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
    only: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
) -> EvaluationFlow:
    """Evaluates a build directory on a labelled folder; SimulationError if RTL and integer
    reference differ, after the results were written."""
    flow = EvaluationFlow(
        directory, images, masks, rtl, model, output, only, workers, scheduler, progress or Silent()
    )
    return run_steps(flow, EVALUATE)
