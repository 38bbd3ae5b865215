"""What a choice of segments and of maps that stay on chip costs.

A state is a partition of the nodes into segments and a set of bridged gaps: a gap lies between two
nodes that touch a map one after the other, and is bridged if the map stays on chip as a whole.
Every segment runs in the cheapest way in which it fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fpga_gen.schedule.place.rolling import Roll

NEVER = 10**15  # bytes of what does not fit

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

    def _cheapest(self, first: int, last: int, present: frozenset[str]) -> tuple[Offer | None, int]:
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
