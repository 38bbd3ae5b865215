"""Search for the segments and the maps that stay on chip: simulated annealing with a fixed seed.

A state is a partition of the nodes into segments (chains of at most MAX_CHAIN nodes) and a set of
bridged gaps: a gap lies between two nodes that touch a map one after the other, and is bridged if
the map stays on chip as a whole. Every segment runs in the fewest bands with which it fits.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

SEED = 1
MOVES, MOST_MOVES = 400, 150_000  # of the annealing, per gap and in all
NEVER = 1e15  # bytes of what does not fit
HOT, COLD = 2.0, 0.002  # temperatures at the start and at the end, in shares of a map's mean bytes

Gap = tuple[str, int, int]  # map, node that touches it, next one


@dataclass(frozen=True)
class Offer:
    """A segment in so many bands. external: (words of a band, bytes that all bands load) by map
    from elsewhere; results: words of its bands that are live at a time, by map that it writes for
    others; inner: words of the bands of its own maps; extra: bytes of weights read again, and of
    work done twice."""

    bands: int
    external: dict[str, tuple[int, int]]
    inner: int
    results: dict[str, int]
    extra: int


@dataclass(frozen=True, eq=False)
class SpillProblem:
    """offers: of every possible segment (first, last node), fewest bands first; touched: maps of a
    node; own: maps that exist only within a segment; gaps: by map; whole: words of a map; sizes:
    its bytes; free: maps whose way to DRAM costs nothing more, as they start or end there;
    capacity: words of the memory."""

    nodes: int
    offers: dict[tuple[int, int], tuple[Offer, ...]]
    touched: tuple[tuple[str, ...], ...]
    own: dict[tuple[int, int], frozenset[str]]
    gaps: dict[str, tuple[Gap, ...]]
    whole: dict[str, int]
    sizes: dict[str, int]
    free: frozenset[str]
    capacity: int


class Residence:
    """segments: last node by first node; kept: bridged gaps; cost: bytes."""

    def __init__(self, problem: SpillProblem) -> None:
        self.problem = problem
        self.segments = {n: n for n in range(problem.nodes)}
        self.kept: set[Gap] = set()
        self._live: list[dict[str, int]] = [{} for _ in range(problem.nodes)]
        self._start = list(range(problem.nodes))  # first node of the segment of a node
        self._own: frozenset[str] = frozenset()
        self._moved = {n: self.offer(n)[1] for n in self.segments}
        self._maps = {name: self._map_cost(name) for name in problem.gaps}

    @property
    def cost(self) -> float:
        return sum(self._moved.values()) + sum(self._maps.values())

    def offer(self, first: int) -> tuple[Offer | None, float]:
        """How a segment runs, and the bytes that it moves; (None, NEVER) if it does not fit."""
        p, last = self.problem, self.segments[first]
        present = self._live[first]
        if last > first:
            present = set().union(*self._live[first : last + 1])
        used = sum(map(p.whole.__getitem__, present))
        for offer in p.offers[first, last]:
            words, moved = used + offer.inner, offer.extra
            for name, (band, loaded) in offer.external.items():
                if name not in present:
                    words += band
                    moved += loaded
            for name, band in offer.results.items():
                if name not in present:
                    words += band
            if words <= p.capacity:
                return offer, moved
        return None, NEVER

    def _map_cost(self, name: str) -> float:
        """Bytes of a map that goes to DRAM, and of those that come back as a whole."""
        p = self.problem
        if name in self._own:
            return 0.0
        kept = [gap in self.kept for gap in p.gaps[name] if not self._inside(gap)]
        cost = 0 if all(kept) or name in p.free else p.sizes[name]
        back = sum(b and not a for a, b in pairwise(kept))
        back += p.gaps[name][0][1] < 0 and kept[0]
        return cost + p.sizes[name] * back

    def _inside(self, gap: Gap) -> bool:
        """The map is touched twice by one segment."""
        _, a, b = gap
        return 0 <= a < b and self._start[a] == self._start[b]

    def _bridge(self, gap: Gap) -> None:
        """Keep a map over a gap, or no longer."""
        on = gap not in self.kept
        (self.kept.add if on else self.kept.discard)(gap)
        name, first, end = gap
        for live in self._live[max(first, 0) : end + 1]:
            count = live.get(name, 0) + (1 if on else -1)
            if count:
                live[name] = count
            else:
                del live[name]

    def toggle(self, gaps: Sequence[Gap]) -> None:
        """Change what happens over some gaps of one map."""
        for gap in gaps:
            self._bridge(gap)
        first, end = max(gaps[0][1], 0), gaps[-1][2]
        self._renew(first, end)
        self._maps[gaps[0][0]] = self._map_cost(gaps[0][0])

    def _renew(self, first: int, end: int) -> None:
        at = self._start[first]
        while at <= end:
            self._moved[at] = self.offer(at)[1]
            at = self.segments[at] + 1

    def split(self, first: int, lasts: Sequence[int]) -> None:
        """Divide the nodes from `first` on anew, into segments that end at `lasts`."""
        p = self.problem
        at, end = first, lasts[-1]
        before = []
        while at <= end:
            before += p.own.get((at, self.segments[at]), ())
            last = self.segments.pop(at)
            del self._moved[at]
            at = last + 1
        after: list[str] = []
        at = first
        for last in lasts:
            self.segments[at] = last
            self._start[at : last + 1] = [at] * (last + 1 - at)
            after += p.own.get((at, last), ())
            at = last + 1
        self._own = self._own.difference(before).union(after)
        names = dict.fromkeys(n for node in p.touched[first : end + 1] for n in node)
        for name in names:
            for gap in p.gaps[name]:
                if gap in self.kept and (name in self._own or self._inside(gap)):
                    self._bridge(gap)
            self._maps[name] = self._map_cost(name)
        self._renew(first, end)

    def is_own(self, name: str) -> bool:
        """The map exists only within a segment."""
        return name in self._own

    def stays(self, name: str) -> bool:
        """The map has no need of DRAM between the segments that touch it."""
        return all(gap in self.kept or self._inside(gap) for gap in self.problem.gaps[name])

    def between(self, name: str) -> list[Gap]:
        """Gaps of a map between two segments."""
        return [gap for gap in self.problem.gaps[name] if not self._inside(gap)]

    def span(self, first: int, last: int) -> tuple[int, list[int]]:
        """(first node, last nodes) of the segments that overlap nodes [first, last]."""
        start = at = self._start[first]
        lasts = []
        while at <= last:
            lasts.append(self.segments[at])
            at = lasts[-1] + 1
        return start, lasts


def search(problem: SpillProblem) -> Residence:
    """The cheapest state found."""
    state = Residence(problem)
    rng = random.Random(SEED)
    names = list(problem.gaps)
    chains = [key for key in problem.offers if key[1] > key[0]]
    mean = sum(problem.sizes.values()) / len(problem.sizes)
    current = best = state.cost
    kept, segments = frozenset(), dict(state.segments)
    moves = min(MOST_MOVES, MOVES * sum(map(len, problem.gaps.values())))
    for move in range(moves):
        heat = mean * HOT * (COLD / HOT) ** (move / moves)
        undo = _rechain(state, rng, chains) if chains and move % 8 == 0 else None
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
    state = Residence(problem)
    for first, last in segments.items():
        if last > first:
            state.split(first, [last])
    for gap in kept:
        state.toggle([gap])
    return state


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


def _rechain(state: Residence, rng: random.Random, chains: list) -> Callable[[], None] | None:
    """Make a chain one segment, or divide it if it is."""
    first, last = rng.choice(chains)
    start, lasts = state.span(first, last)
    if state.segments[start] == last and start == first:
        ends = list(range(first, last + 1))
    else:
        ends = [*range(start, first), last, *range(last + 1, lasts[-1] + 1)]
    kept = set(state.kept)
    state.split(start, ends)

    def undo() -> None:
        state.split(start, lasts)
        for gap in kept - state.kept:
            state.toggle([gap])

    return undo
