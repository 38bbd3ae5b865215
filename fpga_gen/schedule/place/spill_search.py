"""Search for the segments and the maps that stay on chip: simulated annealing with a fixed seed.

A state is a partition of the nodes into segments and a set of bridged gaps: a gap lies between two
nodes that touch a map one after the other, and is bridged if the map stays on chip as a whole. Every
segment runs in the cheapest way in which it fits.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fpga_gen.schedule.place.rolling import Roll

SEED = 1
MOVES, MOST_MOVES = 200, 60_000  # of the annealing, per gap and in all
SHORT = 5  # nodes of the segments that annealing tries
AROUND = 3  # nodes beside a new segment that are settled anew
NEVER = 10**15  # bytes of what does not fit
HOT, COLD = 2.0, 0.002  # temperatures at the start and at the end, in shares of a map's mean bytes

Gap = tuple[str, int, int]  # map, node that touches it, next one


@dataclass(frozen=True)
class Offer:
    """A segment in bands. external: (words of a band, bytes that all bands load) by map from
    elsewhere; results: words of its bands that are live at a time, by map that it writes for
    others; inner: words of the bands of its own maps; extra: bytes of weights read again, and what
    would move in the time of the additional instructions and of STOREs that are waited for; alone:
    each is, so that one buffer is enough."""

    roll: Roll
    external: dict[str, tuple[int, int]]
    inner: int
    results: dict[str, int]
    extra: int
    alone: bool = False


@dataclass(frozen=True, eq=False)
class SpillProblem:
    """offers: of every possible segment (first, last node), the cheapest first; touched: maps of a
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
        self._known: dict[tuple[int, int, frozenset[str]], tuple[Offer | None, int]] = {}
        self._moved: dict[int, int] = {}
        self._maps: dict[str, int] = {}
        self._total = 0
        for first in self.segments:
            self._set_moved(first, self.offer(first)[1])
        for name in problem.gaps:
            self._set_map(name)

    @property
    def cost(self) -> int:
        return self._total

    def offer(self, first: int) -> tuple[Offer | None, int]:
        """How a segment runs, and the bytes that it moves; (None, NEVER) if it does not fit."""
        last = self.segments[first]
        present = frozenset().union(*self._live[first : last + 1])
        key = (first, last, present)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._cheapest(first, last, present)
        return found

    def _cheapest(
        self, first: int, last: int, present: frozenset[str]
    ) -> tuple[Offer | None, int]:
        p = self.problem
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

    def _set_moved(self, first: int, moved: int | None) -> None:
        """Bytes of a segment; None: it is no more."""
        self._total -= self._moved.pop(first, 0)
        if moved is not None:
            self._moved[first] = moved
            self._total += moved

    def _set_map(self, name: str) -> None:
        cost = self._map_cost(name)
        self._total += cost - self._maps.get(name, 0)
        self._maps[name] = cost

    def _map_cost(self, name: str) -> int:
        """Bytes of a map that goes to DRAM, and of those that come back as a whole."""
        p = self.problem
        if name in self._own:
            return 0
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
        self._set_map(gaps[0][0])

    def _renew(self, first: int, end: int) -> None:
        at = self._start[first]
        while at <= end:
            self._set_moved(at, self.offer(at)[1])
            at = self.segments[at] + 1

    def split(self, first: int, lasts: Sequence[int]) -> None:
        """Divide the nodes from `first` on anew, into segments that end at `lasts`."""
        p = self.problem
        at, end = first, lasts[-1]
        before = []
        while at <= end:
            before += p.own.get((at, self.segments[at]), ())
            last = self.segments.pop(at)
            self._set_moved(at, None)
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
            self._set_map(name)
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

    def beside(self, first: int, last: int) -> list[Gap]:
        """Bridged gaps that overlap nodes [first, last]."""
        names = set().union(*self._live[first : last + 1])
        return [
            gap
            for name in sorted(names)
            for gap in self.problem.gaps[name]
            if gap in self.kept and gap[1] <= last and gap[2] >= first
        ]

    def moved(self, first: int, last: int) -> int:
        """Bytes of the segments that overlap nodes [first, last], and of the maps they write."""
        start, lasts = self.span(first, last)
        moved, at = 0, start
        for end in lasts:
            moved += self._moved[at]
            at = end + 1
        return moved + sum(self._maps[self.problem.touched[n][-1]] for n in range(start, at))

    def touching(self, first: int, last: int) -> list[str]:
        """Maps that nodes [first, last] touch."""
        touched = self.problem.touched[max(first, 0) : last + 1]
        return list(dict.fromkeys(name for names in touched for name in names))

    def rest(self, first: int, last: int) -> list[int]:
        """Last nodes of segments of nodes [first, last]: one if that is possible."""
        return [last] if (first, last) in self.problem.offers else list(range(first, last + 1))

    def restore(self, segments: dict[int, int], kept: frozenset[Gap]) -> None:
        """Make it the state of these segments and bridged gaps."""
        at = 0
        while at < self.problem.nodes:
            end, wanted = self.segments[at], segments.get(at)
            if end == wanted:
                at = end + 1
                continue
            ends = []
            place = at
            # until both divide the nodes at the same place
            while True:
                ends.append(segments[place])
                place = ends[-1] + 1
                while end < ends[-1]:
                    end = self.segments[end + 1]
                if end == ends[-1]:
                    break
            self.split(at, ends)
            at = place
        for gap in [*(self.kept - kept), *(kept - self.kept)]:
            self.toggle([gap])

    def span(self, first: int, last: int) -> tuple[int, list[int]]:
        """(first node, last nodes) of the segments that overlap nodes [first, last]."""
        start = at = self._start[first]
        lasts = []
        while at <= last:
            lasts.append(self.segments[at])
            at = lasts[-1] + 1
        return start, lasts


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
            for clear in (0, 1, 2):
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
