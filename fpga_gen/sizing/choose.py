"""The engine for a network: the quick model's best few, ranked by their whole schedules.

The quick model adds up layers and does not know what only the schedule sees: shared planes, row
bands, drains and waits between layers. It is off by up to a tenth, more for one shape of the array
(pixels and modes) than for another, so its first engine need not be the fastest. Within a shape its
order holds: one engine of each is scheduled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from fpga_gen.boards import Board
from fpga_gen.errors import ScheduleError
from fpga_gen.graph.ir import Graph
from fpga_gen.resources import estimate_resources
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.sizing.cycles import frame_cycles, frame_work
from fpga_gen.sizing.search import Candidate, find_engines
from fpga_gen.sizing.standin import standin

SCHEDULED = 4  # engines whose whole schedule is made
REACH = 1.12  # most that the quick model was seen to exceed the schedule


def choose_engines(
    graph: Graph,
    board: Board,
    scheme: str,
    *,
    double_clock: bool = False,
    clock_mhz: float | None = None,
    zero_skipping: bool = True,
    progress: Callable[[str], None] | None = None,
) -> tuple[Candidate, ...]:
    """The best engines for a network on a board, best first; see `find_engines`.

    The first ones have `scheduled` cycles and are ranked by them, the others by the quick model.
    An engine that cannot hold the network is left out. If that is all of the first ones, the
    board's own array is tried: what fits it is never refused.

    Raises:
        ScheduleError: no engine fits the board, or the network none of the first engines.
    """
    clock = clock_mhz or board.clock_mhz
    found = find_engines(
        frame_work(graph), board, scheme, double_clock=double_clock, clock_mhz=clock
    )

    def cycles(candidate: Candidate) -> int:
        p = candidate.params
        if progress:
            progress(f"schedule on {p.pixels},{p.in_channels},{p.dsp_columns},{p.sp2_columns}")
        timing = board_timing(board.read_bytes_per_cycle(p.ports, clock))
        like = standin(graph, p, zero_order=zero_skipping)
        return compile_schedule(like, p, timing, skip=zero_skipping).estimate.cycles

    try:
        return rank(found, cycles)
    except ScheduleError as error:
        own = own_candidate(graph, board, scheme, double_clock=double_clock, clock_mhz=clock)
        with suppress(ScheduleError):
            others = (c for c in found if c.params != own.params)
            return (replace(own, scheduled=cycles(own)), *others)
        raise error


def own_candidate(
    graph: Graph, board: Board, scheme: str, *, double_clock: bool, clock_mhz: float
) -> Candidate:
    """The board's own array with its figures for a network."""
    params = board.default_array(scheme, double_clock)
    timing = board_timing(board.read_bytes_per_cycle(params.ports, clock_mhz))
    return Candidate(
        params, frame_cycles(frame_work(graph), params, timing), estimate_resources(params)
    )


def rank(found: Sequence[Candidate], cycles: Callable[[Candidate], int]) -> tuple[Candidate, ...]:
    """Candidates by the cycles of their schedules; found: in the order of the quick model.

    Scheduled is the first of each shape, but none that the quick model puts too far behind the best
    schedule so far. The quick model knows no zero weights: what the first schedule gains by them,
    the others are taken to gain. ScheduleError of the first candidate if none can be scheduled.
    """
    done: list[Candidate] = []
    rest: list[Candidate] = []
    refused: list[ScheduleError] = []
    shapes = set()
    best = math.inf
    for candidate in found:
        shape = (candidate.params.pixels, candidate.params.modes)
        skipped = max(1.0, done[0].cycles.total / (done[0].scheduled * REACH)) if done else 1.0
        far = candidate.cycles.total > REACH * best * skipped
        if far or shape in shapes or len(done) + len(refused) == SCHEDULED:
            rest.append(candidate)
            continue
        try:
            scheduled = cycles(candidate)
            best = min(best, scheduled)
            done.append(replace(candidate, scheduled=scheduled))
            shapes.add(shape)
        except ScheduleError as error:
            refused.append(error)
    if not done:
        raise refused[0]
    return (*sorted(done, key=lambda c: (c.scheduled, c.resources.luts)), *rest)
