"""The whole flow from an ONNX file to a build directory.

Read `BUILD` and `ESTIMATE` first: each is a list of named steps, run in order and timed. A step is
a function of the flow's state; it fills the fields that later steps read. What happens to a build
directory afterwards, a frame through its RTL, is the list in flows/simulate.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from fpga_gen.boards import Board
from fpga_gen.builddir.artifacts import check_target, sha256, to_json, write_build
from fpga_gen.builddir.config import MAX_CALIBRATION_IMAGES, BuildConfig
from fpga_gen.builddir.digest import model_sha256
from fpga_gen.builddir.layout_file import host_layout
from fpga_gen.cache import remembered
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy.bitfile import remove_stand_ins
from fpga_gen.errors import BuildDirError, FpgaGenError, ScheduleError
from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.frontend.labels import layer_labels
from fpga_gen.graph.ir import Conv, Graph, approximations, conv_macs
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.identity import Identity, seal
from fpga_gen.images import NORMALISATIONS, find_pictures, read_input, spread
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.precision import PrecisionChoice
from fpga_gen.quant.quantise import (
    SYNTHETIC_IMAGES,
    check_quantisable,
    choice_facts,
    choose_wide_maps,
    mac_shares,
    quantise,
)
from fpga_gen.quant.serialise import quant_graph_bytes
from fpga_gen.report import ModelFacts, Report
from fpga_gen.report.collect import build_report
from fpga_gen.report.facts import ResourceFacts
from fpga_gen.report.render import report_files
from fpga_gen.resources import check_fit
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import Timing, board_timing
from fpga_gen.schedule.program import Schedule
from fpga_gen.sizing.choose import choose_engines, for_network
from fpga_gen.sizing.search import Candidate
from fpga_gen.sizing.standin import standin
from fpga_gen.sizing.sums import with_cheap_sums
from fpga_gen.steps import Progress, Silent, run_steps
from fpga_gen.synth.known import known_design
from fpga_gen_host.decode import decode
from fpga_gen_host.registers import INTERFACE_VERSION


@dataclass
class Flow:
    """What the steps of one build have made so far. times: seconds by step; memory_rate: bytes per
    cycle that the board's ports and DRAM sustain; kept: names in the target that are not of the
    build."""

    config: BuildConfig
    target: Path | None = None
    progress: Progress = field(default_factory=Silent)
    times: dict[str, float] = field(default_factory=dict)
    board: Board = field(init=False)
    params: EngineParams = field(init=False)
    candidates: tuple[Candidate, ...] = ()
    clock_mhz: float = field(init=False)
    memory_rate: float = field(init=False)
    graph: Graph = field(init=False)
    model: ModelFacts = field(init=False)
    labels: dict[str, str] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    images: list[np.ndarray] | None = None
    calibration_sha256: str | None = None
    options: QuantOptions = QuantOptions()
    qgraph: QuantGraph = field(init=False)
    schedule: Schedule = field(init=False)
    report: Report = field(init=False)
    verilog: dict[str, str] = field(init=False)
    identity: Identity = field(init=False)
    vivado: dict[str, bytes] = field(init=False)
    kept: tuple[str, ...] = ()


Step = tuple[str, Callable[[Flow], None]]
TABLE = "from the table of mapped blocks"


# --- the steps ------------------------------------------------------------------------------


def check_options(flow: Flow) -> None:
    """Board, engine, clock, pictures: whatever can be refused at once is refused at once."""
    if flow.target is not None:
        check_target(flow.target)
    flow.board = flow.config.load_board()
    if not flow.config.searches(flow.board):
        flow.params = flow.config.resolve_params(flow.board)
    flow.clock_mhz = flow.config.resolve_clock(flow.board)
    if flow.config.calibration is not None:
        flow.pictures = spread(find_pictures(flow.config.calibration), MAX_CALIBRATION_IMAGES)


def import_model(flow: Flow) -> None:
    """ONNX -> Graph. MACs are counted here: no later rewrite changes what counts as work."""
    graph = import_untrusted(flow.config.model, input_shape=flow.config.input_shape)
    flow.graph = graph
    terms = [t for n in graph.nodes if isinstance(n, Conv) for t in n.terms]
    flow.model = ModelFacts(
        graph.name,
        model_sha256(flow.config.model),
        conv_macs(graph),
        sum(t.weight.size for t in terms),
        graph.host_input.model_shape,
    )
    flow.labels = layer_labels(flow.config.model)


def optimise_graph(flow: Flow) -> None:
    """Exact rewrites: Graph -> Graph."""
    flow.graph = optimise(flow.graph, NORMALISATIONS[flow.config.preprocess.normalise])


def read_calibration(flow: Flow) -> None:
    """Pictures for calibration; without a folder the quantiser draws synthetic ones."""
    if flow.config.calibration is None:
        return
    flow.images = []
    for number, path in enumerate(flow.pictures):
        flow.progress.detail(path.name, number / len(flow.pictures))
        image = read_input(path, flow.model.input_shape, flow.config.preprocess)
        flow.images.append(image)
    flow.calibration_sha256 = sha256(b"".join(i.tobytes() for i in flow.images))


def choose_engine(flow: Flow) -> None:
    """The best engine for this network on this board, unless an array was given; with tables only
    where the network needs them. What was found is remembered: an estimate before the build costs
    no time."""
    config, board = flow.config, flow.board
    if config.searches(board):
        options = [
            config.scheme,
            config.double_clock,
            config.exit_pixels,
            flow.clock_mhz,
            config.zero_skipping,
        ]
        flow.candidates = remembered(
            "engines",
            [model_key(flow), board.to_dict(), *options],
            lambda: choose_engines(
                flow.graph,
                board,
                config.scheme,
                double_clock=config.double_clock,
                exit_pixels=config.exit_pixels,
                clock_mhz=flow.clock_mhz,
                zero_skipping=config.zero_skipping,
                progress=flow.progress.detail,
            ),
            lambda found: [asdict(c) for c in found],
            lambda data: decode(_Engines, {"found": data}).found,
        )
        flow.params = flow.candidates[0].params
    else:
        flow.params = for_network(flow.graph, flow.params)
        check_fit(flow.board, flow.params)
    flow.memory_rate = flow.board.read_bytes_per_cycle(flow.params.ports, flow.clock_mhz)


def quantise_graph(flow: Flow) -> None:
    """Graph -> QuantGraph."""
    flow.qgraph = quantise(
        flow.graph,
        flow.params,
        flow.images,
        scheme=flow.config.scheme,
        seed=flow.config.seed,
        progress=flow.progress.detail,
        options=replace(flow.options, zero_order=flow.config.zero_skipping),
    )
    flow.qgraph = _with_cheap_sums(flow, flow.qgraph)


def _with_cheap_sums(flow: Flow, qgraph: QuantGraph) -> QuantGraph:
    timing, skip = board_timing(flow.memory_rate), flow.config.zero_skipping
    return with_cheap_sums(flow.graph, qgraph, flow.params, timing, skip)


def foresee_quantisation(flow: Flow) -> None:
    """Graph -> QuantGraph with unit weights, of which a schedule takes the same cycles. Which maps
    get 16 bits decides on them too, and is remembered. A model that came quantised is not foreseen:
    what can be kept of it only the quantiser knows."""
    if flow.graph.hints is not None:
        quantise_graph(flow)
        return
    graph, config, options = flow.graph, flow.config, flow.options
    check_quantisable(graph, flow.params, config.scheme, options)
    if options.wide_tensors is None:
        choice = remembered(
            "precision",
            [model_key(flow), flow.calibration_sha256, config.seed, asdict(options)],
            lambda: choose_wide_maps(
                graph, flow.images, seed=config.seed, progress=flow.progress.detail, options=options
            ),
            asdict,
            lambda data: decode(PrecisionChoice, data),
        )
    else:
        choice = PrecisionChoice({}, options.wide_tensors, None, None)
    network = standin(graph, flow.params, choice.wide, zero_order=flow.config.zero_skipping)
    facts = {
        "scheme": config.scheme,
        "seed": config.seed,
        "calibration_images": len(flow.images or ()) or SYNTHETIC_IMAGES,
        "compensated": False,
        **mac_shares(network.nodes, network.tensors),
        "wide_tensors": sorted(n for n, t in network.tensors.items() if t.format.bits == 16),
        **choice_facts(choice),
        "approximations": [{"where": n, "reason": r} for n, r in approximations(graph)],
    }
    flow.qgraph = _with_cheap_sums(flow, replace(network, facts=facts))


def schedule_network(flow: Flow) -> None:
    """QuantGraph -> Schedule: program, weight stream, memory map, cycle model."""
    _schedule(flow, quantise_graph)


def schedule_foreseen(flow: Flow) -> None:
    """The same of the network with unit weights."""
    _schedule(flow, foresee_quantisation)


def _schedule(flow: Flow, again: Callable[[Flow], None]) -> None:
    """16-bit maps are wanted for accuracy. A network that stays on chip only without them gets 8
    bits everywhere, and the report says so. One that does not stay there either way keeps them."""
    timing, skip = board_timing(flow.memory_rate), flow.config.zero_skipping
    wide = () if flow.options.wide_tensors is not None else flow.qgraph.facts["wide_tensors"]

    def compiled(*, spill: bool) -> Schedule:
        return compile_schedule(flow.qgraph, flow.params, timing, skip=skip, spill=spill)

    try:
        flow.schedule = compiled(spill=not wide)
        return
    except ScheduleError as error:
        if not wide:
            raise
        refused = error
    if not _stays_on_chip(flow, timing):
        with suppress(ScheduleError):
            flow.schedule = compiled(spill=True)
            return
    flow.options = replace(flow.options, wide_tensors=())
    again(flow)
    flow.schedule = compiled(spill=True)
    flow.qgraph.facts["approximations"] += [
        {"where": name, "reason": f"8 bits where 16 were wanted: {refused}"} for name in wide
    ]


def _stays_on_chip(flow: Flow, timing: Timing) -> bool:
    """Whether the network with 8 bits everywhere does."""
    try:
        like = standin(flow.graph, flow.params, zero_order=flow.config.zero_skipping)
        compile_schedule(like, flow.params, timing, skip=flow.config.zero_skipping, spill=False)
    except ScheduleError:
        return False
    return True


def make_report(flow: Flow) -> None:
    """Facts of all steps so far -> Report."""
    flow.report = build_report(
        flow.model, flow.board, flow.params, flow.clock_mhz, flow.qgraph, flow.schedule, flow.labels
    )


def generate_rtl(flow: Flow) -> None:
    """EngineParams -> Verilog with its design hash; its resources are known if it is one of the
    mapped engines."""
    from fpga_gen.generated import engine_verilog  # amaranth: an estimate does without

    flow.verilog, flow.identity = seal(engine_verilog(flow.params), flow.params)
    if known := known_design(flow.verilog, flow.clock_mhz):
        resources = ResourceFacts(known[0], flow.board.resources, "synthesised", TABLE)
        flow.report = replace(flow.report, resources=resources, timing=known[1])


def vivado_project(flow: Flow) -> None:
    """Board, engine and clock -> the folder vivado/ for `fpga-gen bitstream`."""
    from fpga_gen.deploy.vivado_project import vivado_files  # imports amaranth, as above

    flow.vivado = vivado_files(flow.board, flow.params, flow.clock_mhz, flow.verilog)


def write_directory(flow: Flow) -> None:
    """Everything -> build directory, whole or not at all."""
    assert flow.target is not None
    files = {f"rtl/{name}": text.encode() for name, text in flow.verilog.items()}
    files |= flow.vivado
    files |= {
        "program.bin": flow.schedule.program,
        "weights.bin": flow.schedule.weights,
        "quantised.npz": quant_graph_bytes(flow.qgraph),
        "layout.json": to_json(host_layout(flow.schedule, flow.qgraph, flow.config.preprocess)),
        **report_files(flow.report),
    }
    kept = write_build(flow.target, files, manifest_facts(flow))
    try:
        remove_stand_ins(flow.target)
    except OSError as error:
        raise BuildDirError(f"{flow.target}: cannot be written: {error.strerror}") from error
    flow.kept = tuple(name for name in kept if (flow.target / name).exists())


# --- the flows ------------------------------------------------------------------------------

READ: tuple[Step, ...] = (
    ("check options", check_options),
    ("import model", import_model),
    ("optimise graph", optimise_graph),
    ("read calibration pictures", read_calibration),
)

PREDICT: tuple[Step, ...] = (
    ("choose engine", choose_engine),
    ("foresee quantisation", foresee_quantisation),
    ("schedule", schedule_foreseen),
    ("report", make_report),
)

ESTIMATE: tuple[Step, ...] = (*READ, *PREDICT)

BUILD: tuple[Step, ...] = (
    *READ,
    ("choose engine", choose_engine),
    ("quantise", quantise_graph),
    ("schedule", schedule_network),
    ("report", make_report),
    ("generate Verilog", generate_rtl),
    ("Vivado project", vivado_project),
    ("write build directory", write_directory),
)


def build(config: BuildConfig, target: Path, progress: Progress | None = None) -> Flow:
    """Compiles a model for a board into the folder `target`."""
    return run_steps(Flow(config, target, progress or Silent()), BUILD)


def estimate(config: BuildConfig, progress: Progress | None = None) -> Flow:
    """Cycle and traffic estimate without writing anything.

    The schedule depends on shapes and zeros, not on the other values of the weights, so these are
    not quantised: cycles are those of a build, DRAM bytes within a hundredth.
    """
    flow = Flow(config, None, progress or Silent())
    flow.options = QuantOptions(compensate=False)
    return run_steps(flow, ESTIMATE)


def survey(
    config: BuildConfig, boards: Sequence[str], progress: Progress | None = None
) -> dict[str, Flow | FpgaGenError]:
    """An estimate, or why there is none, for each of the boards; the model is read once."""
    read = Flow(config, None, progress or Silent())
    read.options = QuantOptions(compensate=False)
    run_steps(read, READ)
    found: dict[str, Flow | FpgaGenError] = {}
    for name in boards:
        flow = copy(read)
        flow.config = replace(config, board=name)
        try:
            found[name] = run_steps(flow, (READ[0], *PREDICT))
        except FpgaGenError as error:
            found[name] = error
    return found


# --- helpers --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Engines:
    """What is remembered of a search."""

    found: tuple[Candidate, ...]


def model_key(flow: Flow) -> list:
    """What decides on the optimised graph, beside the program."""
    shape = flow.config.input_shape
    return [
        flow.model.sha256,
        None if shape is None else list(shape),
        flow.config.preprocess.normalise,
    ]


def manifest_facts(flow: Flow) -> dict:
    """Entries of the manifest beside the file list."""
    return {
        "model": {"name": flow.model.name, "sha256": flow.model.sha256},
        "board": {"name": flow.board.name, "sha256": sha256(to_json(flow.board.to_dict()))},
        "config": flow.config.to_dict(),
        "calibration_sha256": flow.calibration_sha256,
        "clock_mhz": flow.clock_mhz,
        "memory_bytes_per_cycle": flow.memory_rate,
        "parameters": flow.params.to_dict(),
        "design_hash": f"{flow.identity.design_hash:016x}",
        "identity": flow.identity.to_dict(),
        "register_map": INTERFACE_VERSION,
    }
