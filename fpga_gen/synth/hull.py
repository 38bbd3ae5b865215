"""Delays of paths as lines: cell delay + hops x delay of a hop.

Which of two paths is longer depends on what a hop takes, so an arrival is not one number but the
upper envelope of lines over all hop delays >= 0. It is exact, and short: one line for each number
of hops at the most.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Line(NamedTuple):
    """A path or the part of one. cell_ps: picoseconds in cells; hops: nets between them; name: the
    register where it starts or ends; before: the line that it goes on from, and its net, to trace
    it."""

    cell_ps: int
    hops: int
    name: str
    before: tuple[Line, int] | None = None


def envelope(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The lines that are the longest at some hop delay >= 0, fewest hops first."""
    ranked = sorted(lines, key=lambda x: (-x.hops, -x.cell_ps))
    best: list[Line] = []  # most hops first, cell delay rising: what a hop of 0 ps ranks last
    for line in ranked:
        if best and line.cell_ps <= best[-1].cell_ps:
            continue
        while len(best) > 1 and _hidden(best[-2], best[-1], line):
            best.pop()
        best.append(line)
    return tuple(reversed(best))


def _hidden(above: Line, middle: Line, below: Line) -> bool:
    """Whether `middle` is never longer than both others; hops fall, cell delays rise."""
    return (middle.cell_ps - above.cell_ps) * (above.hops - below.hops) <= (
        below.cell_ps - above.cell_ps
    ) * (above.hops - middle.hops)


def joined(first: Iterable[Line], second: Iterable[Line]) -> list[tuple[Line, Line]]:
    """Pairs of lines, one of each, that are the longest together at some hop delay >= 0."""
    pairs = {}
    for a in first:
        for b in second:
            pairs.setdefault((a.cell_ps + b.cell_ps, a.hops + b.hops), (a, b))
    kept = envelope(Line(cell, hops, "") for cell, hops in pairs)
    return [pairs[line.cell_ps, line.hops] for line in kept]


def allowed_ps(lines: Iterable[Line], budget_ps: float) -> float:
    """What a hop may take at most so that all lines end within a budget; below 0 where the cells
    alone are too slow, infinite without hops."""
    worst = float("inf")
    for line in lines:
        rest = budget_ps - line.cell_ps
        if line.hops:
            worst = min(worst, rest / line.hops)
        elif rest < 0:
            return float("-inf")
    return worst


def delay_ps(lines: Iterable[Line], hop_ps: float) -> float:
    """Delay of the longest line at a hop delay."""
    return max((line.cell_ps + hop_ps * line.hops for line in lines), default=0.0)
