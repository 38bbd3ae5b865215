"""Allocation of maps in the feature-map memory: lifetimes x addresses without overlap.

Greedy best fit with several orders first, the CP-SAT solver where greedy leaves maps outside.
"""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.errors import ScheduleError

# In CP-SAT's deterministic time, so that every machine finds the same placement or none. A unit
# took 9 s of one core, beside other jobs.
SOLVER_LIMIT = 2.0


class NoRoom(ScheduleError):
    """The maps do not fit the memory."""


@dataclass(frozen=True)
class Demand:
    """`words` of memory for `tensor` during steps [first, last], both inclusive.

    offset: words from the base of the object; an object of several maps has several demands of
    one name, which are placed together.
    """

    tensor: str
    words: int
    first: int
    last: int
    offset: int = 0

    def meets(self, other: Demand) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Allocation:
    """First word of every map or run of maps; peak: words in use by the highest one; live: largest
    sum of live maps (a lower bound of any allocation)."""

    bases: dict[str, int]
    peak: int
    live: int


def live_words(demands: list[Demand]) -> tuple[int, int]:
    """(largest sum of live maps, step at which it occurs)."""
    worst, at = 0, 0
    for step in sorted({d.first for d in demands}):
        total = sum(d.words for d in demands if d.first <= step <= d.last)
        if total > worst:
            worst, at = total, step
    return worst, at


def _greedy(demands: list[Demand]) -> dict[str, int]:
    """Place in the given order, each in the tightest gap between the maps it meets."""
    objects: dict[str, list[Demand]] = {}
    for demand in demands:
        objects.setdefault(demand.tensor, []).append(demand)
    placed: list[tuple[Demand, int]] = []  # demand, its first word
    bases: dict[str, int] = {}
    for name, pieces in objects.items():
        # bases strictly between these bounds would overlap
        taken = sorted(
            (at - piece.offset - piece.words, at + other.words - piece.offset)
            for piece in pieces
            for other, at in placed
            if other.meets(piece)
        )
        cursor, best, best_gap = 0, None, None
        for start, end in taken:
            gap = start - cursor
            if gap >= 0 and (best_gap is None or gap < best_gap):
                best, best_gap = cursor, gap
            cursor = max(cursor, end)
        bases[name] = cursor if best is None else best
        placed += [(piece, bases[name] + piece.offset) for piece in pieces]
    return bases


def _orders(demands: list[Demand]) -> list[list[Demand]]:
    keys = (
        lambda d: (-d.words, d.first),
        lambda d: (-d.words * (d.last - d.first + 1), d.first),
        lambda d: (d.first, -d.words),
        lambda d: (-(d.last - d.first), -d.words),
        lambda d: (-d.last, -d.words),
    )
    return [sorted(demands, key=key) for key in keys]


def _solve(demands: list[Demand], capacity: int) -> dict[str, int] | None:
    """CP-SAT: any placement within `capacity`, or None if it finds none within SOLVER_LIMIT."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    bases, times, spaces = {}, [], []
    for d in demands:
        if d.tensor not in bases:
            size = max(o.offset + o.words for o in demands if o.tensor == d.tensor)
            bases[d.tensor] = model.new_int_var(0, capacity - size, d.tensor)
        times.append(model.new_fixed_size_interval_var(d.first, d.last - d.first + 1, ""))
        spaces.append(model.new_fixed_size_interval_var(bases[d.tensor] + d.offset, d.words, ""))
    model.add_no_overlap_2d(times, spaces)
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = SOLVER_LIMIT
    solver.parameters.num_workers = 1  # more of them are not deterministic
    solver.parameters.random_seed = 1
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return {name: solver.value(base) for name, base in bases.items()}


def _top(demands: list[Demand], bases: dict[str, int]) -> int:
    return max(bases[d.tensor] + d.offset + d.words for d in demands)


def allocate_quickly(demands: list[Demand], capacity: int) -> Allocation | None:
    """Bases within `capacity` words if a greedy placement finds them."""
    found = _best_greedy(demands)
    return found if found.peak <= capacity else None


def _best_greedy(demands: list[Demand]) -> Allocation:
    placements = [_greedy(order) for order in _orders(demands)]
    best = min(placements, key=lambda bases: _top(demands, bases))
    return Allocation(best, _top(demands, best), live_words(demands)[0])


def find_allocation(demands: list[Demand], capacity: int) -> Allocation | None:
    """Bases within `capacity` words: a greedy placement's, or else the solver's."""
    found = allocate_quickly(demands, capacity)
    live = live_words(demands)[0]
    if found is None and live <= capacity:
        solved = _solve(demands, capacity)
        if solved is not None:
            found = Allocation(solved, _top(demands, solved), live)
    return found


def allocate(demands: list[Demand], capacity: int, word_bytes: int, steps: list[str]) -> Allocation:
    """Bases of all maps within `capacity` words; steps: layer name of every step, for messages.

    Raises NoRoom with needed and available bytes if the maps do not fit.
    """
    live, at = live_words(demands)
    if live > capacity:
        raise NoRoom(
            f"feature maps need {live * word_bytes} bytes at layer '{steps[at]}', the memory has "
            f"{capacity * word_bytes}: use a smaller input or a larger board"
        )
    found = find_allocation(demands, capacity)
    if found is None:
        peak = _best_greedy(demands).peak
        raise NoRoom(
            f"no placement of the feature maps was found in {capacity * word_bytes} bytes: "
            f"{live * word_bytes} are live at layer '{steps[at]}', the best placement takes "
            f"{peak * word_bytes}: use a smaller input or a larger board"
        )
    return found
