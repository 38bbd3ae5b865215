"""The engine for a network: the quick model's best few, ranked by their whole schedules.

The quick model adds up layers and does not know what only the schedule sees: shared planes, row
bands, drains and waits between layers. It is off by up to a tenth, more for one shape of the array
(pixels and modes) than for another, so its first engine need not be the fastest. Within a shape its
order holds: one engine of each is scheduled. Engines of one exit pixel and of two are looked for
apart, so that a second one never costs a network the engine that it had without.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from fpga_gen.boards import Board
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.graph.ir import Graph, needs_tables
from fpga_gen.resources import estimate_resources
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.sizing.advice import advice, needs_bands
from fpga_gen.sizing.cycles import frame_cycles, frame_work
from fpga_gen.sizing.search import SHOWN, Candidate, find_engines
from fpga_gen.sizing.standin import standin
from fpga_gen.sizing.sums import with_cheap_sums

EXIT_PIXELS = (1, 2)
SCHEDULED = 4  # engines of each whose whole schedule is made
REACH = 1.12  # most that the quick model was seen to exceed the schedule


def choose_engines(
    graph: Graph,
    board: Board,
    scheme: str,
    *,
    double_clock: bool = False,
    exit_pixels: int | None = None,
    clock_mhz: float | None = None,
    zero_skipping: bool = True,
    progress: Callable[[str], None] | None = None,
) -> tuple[Candidate, ...]:
    """The best engines for a network on a board, best first; see `find_engines`. exit_pixels: None
    for any.

    The first ones have `scheduled` cycles and are ranked by them, the others by the quick model.
    An engine that cannot hold the network is left out. None has more memory than the board's own
    array: where the maps of the network are larger than that memory, and row bands must help, or
    another engine cannot hold it, that array is tried first, and decides.

    Raises:
        ScheduleError: no engine fits the board, or the network not the board's own array.
    """
    clock = clock_mhz or board.clock_mhz
    work = frame_work(graph)

    def cycles(candidate: Candidate) -> int:
        p = candidate.params
        if progress:
            progress(f"schedule on {p.figures_text}")
        timing = board_timing(board.read_bytes_per_cycle(p.ports, clock))
        like = standin(graph, p, zero_order=zero_skipping)
        like = with_cheap_sums(graph, like, p, timing, zero_skipping)
        return compile_schedule(like, p, timing, skip=zero_skipping).estimate.cycles

    @cache
    def own() -> Candidate:
        """The board's own array; ScheduleError if it cannot hold the network."""
        own_array = replace(board.default_array(scheme, double_clock), exit_pixels=exit_pixels or 1)
        params = for_network(graph, own_array)
        timing = board_timing(board.read_bytes_per_cycle(params.ports, clock))
        quick = Candidate(params, frame_cycles(work, params, timing), estimate_resources(params))
        try:
            return replace(quick, scheduled=cycles(quick))
        except ScheduleError as error:
            hint = advice(graph, board, scheme)
            raise ScheduleError(f"{error}; {hint}" if hint else str(error)) from error

    if needs_bands(work, board.default_array(scheme, double_clock)):
        own()  # before the search, which takes seconds
    found: list[Candidate] = []
    for number in EXIT_PIXELS if exit_pixels is None else (exit_pixels,):
        try:
            found += find_engines(
                work,
                board,
                scheme,
                double_clock=double_clock,
                exit_pixels=number,
                clock_mhz=clock,
            )
        except ScheduleError:
            if not found:
                raise
            # Two exit pixels do not fit the board.
    return rank(found, cycles, own)[:SHOWN]


def for_network(graph: Graph, params: EngineParams) -> EngineParams:
    """An array as an engine for a network: with tables if that needs them, else without."""
    return replace(params, activations=needs_tables(graph))


def rank(
    found: Sequence[Candidate],
    cycles: Callable[[Candidate], int],
    own: Callable[[], Candidate],
) -> tuple[Candidate, ...]:
    """Candidates by the cycles of their schedules; found: in the order of the quick model, those of
    two exit pixels last; own: the board's own array, asked for as soon as another cannot be
    scheduled.

    Scheduled is the first of each shape, up to SCHEDULED of each number of exit pixels, but none
    that the quick model puts too far behind the best schedule so far. The quick model knows no zero
    weights: what the first schedule gains by them, the others are taken to gain. ScheduleError of
    the board's own array if it cannot be scheduled either.
    """
    done: list[Candidate] = []
    rest: list[Candidate] = []
    tried: Counter[int] = Counter()  # by exit pixels
    shapes = set()
    best = math.inf
    skipped = 1.0
    for candidate in found:
        p = candidate.params
        shape = (p.pixels, p.modes, p.exit_pixels)
        far = candidate.cycles.total > REACH * best * skipped
        if far or shape in shapes or tried[p.exit_pixels] == SCHEDULED:
            rest.append(candidate)
            continue
        tried[p.exit_pixels] += 1
        try:
            scheduled = cycles(candidate)
            if not done:
                skipped = max(1.0, candidate.cycles.total / (scheduled * REACH))
            best = min(best, scheduled)
            done.append(replace(candidate, scheduled=scheduled))
            shapes.add(shape)
        except ScheduleError:
            own()
    if not done:
        last = own()
        return (last, *(c for c in found if c.params != last.params))
    return (
        *sorted(done, key=lambda c: (c.scheduled, c.resources.luts)),
        *sorted(rest, key=lambda c: c.cycles.total),
    )
