"""`fpga-gen check`: whether a model can be built, without quantising it.

Everything up to the schedule is the real thing; for the quantised network stands one with unit
weights (sizing/standin.py), of which the schedule needs only shapes and formats.
"""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.boards import Board
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.frontend.importer import examine_onnx
from fpga_gen.frontend.problems import Problem
from fpga_gen.graph.ir import Graph, approximations, conv_macs
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.report.breakdown import Share, shares
from fpga_gen.report.collect import timeline_facts
from fpga_gen.schedule.compile import compile_schedule, layer_errors
from fpga_gen.schedule.cycles.timing import Timing, board_timing
from fpga_gen.sizing.choose import for_network
from fpga_gen.sizing.standin import standin
from fpga_gen.sizing.sums import with_cheap_sums
from fpga_gen.worker import Limits, run_limited

REMEDY_VERBS = ("use", "quantise", "resample", "keep", "reduce")
SMALLER = "use a board with more on-chip memory, a smaller input, or change this layer"


@dataclass(frozen=True, repr=False)
class Check:
    """What a check found. problems: empty if the model can be built; params: the engine that was
    scheduled, None if the model could not be imported; macs: multiply-accumulates of the model;
    cycles: of a frame on it, estimated; shares: where they go; approximations: (node, what differs
    from the model)."""

    board: str
    problems: tuple[Problem, ...]
    params: EngineParams | None = None
    macs: int = 0
    cycles: int = 0
    shares: tuple[Share, ...] = ()
    approximations: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        found = f"about {self.cycles:,} cycles a frame"
        if self.problems:
            found = f"{len(self.problems)} in the way, see .problems"
        return f"<check for {self.board}: {found}>"


def check_model(config: BuildConfig) -> Check:
    """Checks a model for a board, in a process with limits.

    The board's own array decides where none is given. No engine that the search of `build` tries
    has more memory, and the search falls back on it.

    Raises:
        UnsupportedModel: the file is unreadable or takes too much.
        BoardError, ScheduleError: board, clock or array are at fault.
    """
    board = config.load_board()
    clock = config.resolve_clock(board)
    if config.array is not None:
        params = config.resolve_params(board)
    else:
        params = config.own_array(board)
    return run_limited(str(config.model), Limits(), _check, config, board, params, clock)


def _check(config: BuildConfig, board: Board, params: EngineParams, clock: float) -> Check:
    graph, problems = examine_onnx(config.model, config.input_shape)
    if graph is None:
        return Check(board.name, tuple(problems))
    macs = conv_macs(graph)
    graph = optimise(graph, NORMALISATIONS[config.preprocess.normalise])
    notes = tuple(approximations(graph))
    params = for_network(graph, params)
    timing = board_timing(board.read_bytes_per_cycle(params.ports, clock))
    network = with_cheap_sums(graph, standin(graph, params), params, timing, config.zero_skipping)
    try:
        schedule = compile_schedule(network, params, timing)
    except ScheduleError as error:
        problems = _schedule_problems(graph, network, params, timing, error)
        return Check(board.name, tuple(problems), params, macs, approximations=notes)
    cycles = schedule.estimate.cycles
    work = (macs - schedule.estimate.skipped.macs) / params.macs_per_cycle
    spent = shares(timeline_facts(schedule).activities, cycles, work)
    return Check(board.name, (), params, macs, cycles, spent, notes)


def _schedule_problems(
    graph: Graph, network: QuantGraph, params: EngineParams, timing: Timing, error: ScheduleError
) -> list[Problem]:
    """Every layer that the engine cannot run; if each can be, what `error` says of them all."""
    kinds = {node.name: type(node).__name__ for node in graph.nodes}
    found = layer_errors(network, params, timing)
    return [_problem(name, kinds[name], str(reason)) for name, reason in found.items()] or [
        _problem(graph.name, "Network", str(error))
    ]


def _problem(name: str, kind: str, message: str) -> Problem:
    """A message of the scheduler, "layer 'NAME': REASON: REMEDY", in its parts."""
    text = message.removeprefix(f"layer '{name}'").lstrip(": ")
    reason, _, remedy = text.rpartition(": ")
    if reason and remedy.split()[0] in REMEDY_VERBS:
        return Problem(name, kind, reason, remedy)
    return Problem(name, kind, text, SMALLER)
