"""Search for the segments and the maps that stay on chip: simulated annealing with a fixed seed
over short segments, then local search over all."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from fpga_gen.schedule.place.residence import NEVER, Residence, SpillProblem

SEED = 1
MOVES, MOST_MOVES = 200, 40_000  # of the annealing, per gap and in all
SHORT = 5  # nodes of the segments that annealing tries
AROUND = 3  # nodes beside a new segment that are settled anew
HOT, COLD = 2.0, 0.002  # temperatures at the start and at the end, in shares of a map's mean bytes


def search(problem: SpillProblem) -> Residence:
    """The cheapest state found: by annealing over short segments, then by trying every segment."""
    state = Residence(problem)
    rng = random.Random(SEED)
    names = list(problem.gaps)
    chains = [key for key in problem.offers if 0 < key[1] - key[0] < SHORT]
    mean = sum(problem.sizes.values()) / len(problem.sizes)
    current = best = state.cost
    kept, segments = frozenset(), dict(state.segments)
    moves = min(MOST_MOVES, MOVES * sum(map(len, problem.gaps.values())))
    for move in range(moves):
        heat = mean * HOT * (COLD / HOT) ** (move / moves)
        undo = _rechain(state, rng.choice(chains), 0) if chains and move % 4 == 0 else None
        undo = undo or _toggle(state, rng, names)
        if undo is None:
            continue
        cost = state.cost
        if cost <= current or rng.random() < math.exp((current - cost) / heat):
            current = cost
            if cost < best:
                best, kept, segments = cost, frozenset(state.kept), dict(state.segments)
        else:
            undo()
    state.restore(segments, kept)
    _polish(state)
    return state


def _polish(state: Residence) -> None:
    """Make every segment in turn one, with room for it or without, and keep it where that is
    cheaper once the maps around it stay or go as is best; until nothing is gained."""
    gained = True
    while gained:
        gained = False
        for first, last in state.problem.offers:
            if state.segments.get(first) == last or not state.moved(first, last):
                continue
            for clear in (1, 2):
                before = state.cost
                segments, kept = dict(state.segments), frozenset(state.kept)
                _rechain(state, (first, last), clear)
                if state.cost < before + NEVER / 2:
                    _settle(state, first - AROUND, last + AROUND)
                if state.cost < before:
                    gained = True
                    break
                state.restore(segments, kept)


def _settle(state: Residence, first: int, last: int) -> None:
    """Toggle the gaps around nodes [first, last] while that is cheaper."""
    for _ in range(2):
        for name in state.touching(first, last):
            for gap in () if state.is_own(name) else state.between(name):
                if gap[2] < first or gap[1] > last:
                    continue
                before = state.cost
                state.toggle([gap])
                if state.cost >= before:
                    state.toggle([gap])


def _toggle(state: Residence, rng: random.Random, names: list[str]) -> Callable[[], None] | None:
    """Change one gap of a map, or make all its gaps alike."""
    name = rng.choice(names)
    if state.is_own(name):
        return None
    gaps = state.between(name)
    if not gaps:
        return None
    if len(gaps) > 1 and rng.random() < 0.3:
        on = rng.random() < 0.5
        chosen = [gap for gap in gaps if (gap in state.kept) != on]
    else:
        chosen = [rng.choice(gaps)]
    if not chosen:
        return None
    state.toggle(chosen)
    return lambda: state.toggle(chosen)


def _rechain(state: Residence, chain: tuple[int, int], clear: int) -> Callable[[], None]:
    """Make a chain one segment, or divide it if it is. clear: 1: no map from elsewhere stays on
    chip beside it, 2: nor one of its own, which makes room."""
    first, last = chain
    start, lasts = state.span(first, last)
    if state.segments[start] == last and start == first:
        ends = list(range(first, last + 1))
    else:
        ends = [*state.rest(start, first - 1), last, *state.rest(last + 1, lasts[-1])]
    kept = set(state.kept)
    for gap in state.beside(first, last) if clear else ():
        if clear == 2 or gap[1] < first:
            state.toggle([gap])
    state.split(start, ends)

    def undo() -> None:
        state.split(start, lasts)
        for gap in kept - state.kept:
            state.toggle([gap])

    return undo
