"""Search for runs of maps: which map's channels follow which, for the fewest cycles of all readers.

Simulated annealing with a fixed seed and a bounded number of moves. Maps of one class (size and
pad byte) may share planes; classes are searched one after another.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

SEED = 1
MOVES_PER_MAP = 300  # moves of the annealing per map of a class
MAX_MOVES = 20_000  # of one class
HOT, COLD = 2000.0, 20.0  # temperatures at the start and at the end, in cycles
EPSILON = 1.0  # cycles a neighbour in a run must be worth


@dataclass(frozen=True, eq=False)
class Reader:
    """A convolution. parts: (taps, maps read at once) whose planes are counted together; fixed:
    weight slots of everything else; cycles: of a number of weight slots."""

    parts: tuple[tuple[int, tuple[int, ...]], ...]
    fixed: int
    cycles: Callable[[int], float]


def planes_touched(start: int, channels: int, word: int) -> tuple[int, int]:
    """(first plane, end plane) of channels that begin at channel `start` of a run."""
    return start // word, -(-(start + channels) // word)


class _Class:
    """Runs of the maps of one class; the slots that readers spend on other classes are fixed."""

    def __init__(
        self, maps: list[int], sizes: list[int], readers: list[Reader], fixed: list[int], word: int
    ) -> None:
        self.sizes, self.readers, self.fixed, self.word = sizes, readers, fixed, word
        self.width = 2 + sum(-(-sizes[m] // word) for m in maps)  # bits per run
        self.runs: list[list[int]] = [[m] for m in maps]
        self.run_of = {m: i for i, m in enumerate(maps)}
        own = set(maps)
        self.parts = [
            [(t, tuple(m for m in names if m in own)) for t, names in r.parts if own & set(names)]
            for r in readers
        ]
        self.readers_of: dict[int, list[int]] = {m: [] for m in maps}
        for index, parts in enumerate(self.parts):
            for m in {m for _, names in parts for m in names}:
                self.readers_of[m].append(index)
        self.together: dict[int, list[int]] = {
            m: sorted(
                {o for r in self.readers_of[m] for _, names in self.parts[r] for o in names} - {m}
            )
            for m in maps
        }
        self.masks: dict[int, int] = {}
        for index in range(len(self.runs)):
            self._place(index)
        self.slots = [0] * len(readers)
        self.costs = [0.0] * len(readers)
        for r in range(len(readers)):
            self.slots[r], self.costs[r] = self._reader(r)

    def _place(self, index: int) -> None:
        """Plane masks of the maps of a run."""
        start, base = 0, index * self.width
        for m in self.runs[index]:
            first, end = planes_touched(start, self.sizes[m], self.word)
            self.masks[m] = ((1 << (end - first)) - 1) << (base + first)
            self.run_of[m] = index
            start += self.sizes[m]

    def _reader(self, r: int) -> tuple[int, float]:
        """(slots on this class, cycles)."""
        masks, total = self.masks, 0
        for taps, names in self.parts[r]:
            union = 0
            for m in names:
                union |= masks[m]
            total += taps * union.bit_count()
        return total, self.readers[r].cycles(self.fixed[r] + total)

    def change(self, edits: dict[int, list[int]]) -> tuple[float, Callable[[], None]]:
        """Replace runs; (growth of the cost, undo)."""
        old = {i: self.runs[i] for i in edits}
        touched = {m for run in old.values() for m in run}
        delta = 0.0
        for i, run in edits.items():
            delta += EPSILON * (max(len(run), 1) - max(len(old[i]), 1))
            self.runs[i] = run
        for i in edits:
            self._place(i)
        saved = {}
        for r in sorted({r for m in touched for r in self.readers_of[m]}):
            saved[r] = (self.slots[r], self.costs[r])
            self.slots[r], self.costs[r] = self._reader(r)
            delta += self.costs[r] - saved[r][1]

        def undo() -> None:
            for i, run in old.items():
                self.runs[i] = run
            for i in old:
                self._place(i)
            for r, (slots, cost) in saved.items():
                self.slots[r], self.costs[r] = slots, cost

        return delta, undo

    def propose(self, rng: random.Random, maps: list[int]) -> dict[int, list[int]] | None:
        """Runs that a random move replaces."""
        m = rng.choice(maps)
        here = self.run_of[m]
        run = self.runs[here]
        kind = rng.random()
        if kind < 0.15:  # a run of its own
            if len(run) == 1:
                return None
            empty = next(i for i, r in enumerate(self.runs) if not r)
            return {here: [x for x in run if x != m], empty: [m]}
        peers = self.together[m]
        other = rng.choice(peers) if peers else rng.choice(maps)
        there = self.run_of[other]
        if other == m:
            return None
        if kind < 0.25:  # swap two maps
            swap = {m: other, other: m}
            return {i: [swap.get(x, x) for x in self.runs[i]] for i in (here, there)}
        if kind < 0.4:  # join two runs, or turn one round
            if here == there:
                return {here: run[::-1]}
            return {here: run + self.runs[there], there: []}
        if kind < 0.5:  # cut a run before the map
            at = run.index(m)
            if at == 0:
                return None
            empty = next(i for i, r in enumerate(self.runs) if not r)
            return {here: run[:at], empty: run[at:]}
        target = [x for x in self.runs[there] if x != m]
        at = target.index(other) + (rng.random() < 0.5)
        target.insert(at, m)
        if here == there:
            return {here: target}
        return {here: [x for x in run if x != m], there: target}

    def anneal(self, maps: list[int], rng: random.Random) -> None:
        """Leave the cheapest runs seen in `runs`."""
        moves = min(MAX_MOVES, MOVES_PER_MAP * len(maps))
        cost = best = 0.0
        best_runs = [list(r) for r in self.runs]
        cooling = (COLD / HOT) ** (1 / moves)
        temperature = HOT
        for _ in range(moves):
            temperature *= cooling
            edits = self.propose(rng, maps)
            if edits is None:
                continue
            delta, undo = self.change(edits)
            if delta > 0 and rng.random() >= math.exp(-delta / temperature):
                undo()
                continue
            cost += delta
            if cost < best - 1e-6:
                best, best_runs = cost, [list(r) for r in self.runs]
        self.change(dict(enumerate(best_runs)))


def search_runs(
    classes: list[list[int]], sizes: list[int], readers: list[Reader], word: int
) -> list[tuple[int, ...]]:
    """Runs of two or more maps. classes: maps that may share planes; sizes: channels of every
    map; word: channels of a plane."""
    rng = random.Random(SEED)
    spent = [0] * len(readers)  # slots on all classes, at their present runs
    states = [_Class(maps, sizes, readers, [r.fixed for r in readers], word) for maps in classes]
    for state in states:
        spent = [a + b for a, b in zip(spent, state.slots, strict=True)]
    runs: list[tuple[int, ...]] = []
    for maps, first in zip(classes, states, strict=True):
        fixed = [
            reader.fixed + total - own
            for reader, total, own in zip(readers, spent, first.slots, strict=True)
        ]
        state = _Class(maps, sizes, readers, fixed, word)
        state.anneal(maps, rng)
        spent = [
            total - own + now
            for total, own, now in zip(spent, first.slots, state.slots, strict=True)
        ]
        runs += [tuple(run) for run in state.runs if len(run) > 1]
    return runs
