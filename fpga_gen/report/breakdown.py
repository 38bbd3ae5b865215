"""Where the cycles of a frame go, and what the simulation says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fpga_gen.report.facts import LayerFacts, Report
from fpga_gen.report.timeline import Activity

Key = tuple[str, str]  # layer, op
COSTLIEST = 10


@dataclass(frozen=True)
class Share:
    """Cycles of one frame that went one way."""

    title: str
    cycles: int
    remedy: str


# What each share is called, and what makes it smaller.
SHARES = {
    "work": ("useful MACs", "a larger array or a faster clock"),
    "mapping": (
        "MAC slots lost to rounding of channels, pixels and tiles",
        "an array shape that divides this network's channel counts better",
    ),
    "weights": ("waiting for weights from DRAM", "more ports or a larger weight buffer"),
    "drain": ("waiting for the exit path", "a wider exit path"),
    "order": (
        "waiting for earlier results",
        "nothing in the options: each layer here needs the whole of the one before it",
    ),
    "pool": ("max-pooling", "a faster pooling unit"),
    "vector": ("elementwise and resampling", "a wider vector unit"),
    "load": ("loading the picture and maps", "a smaller input, more memory or more ports"),
    "store": ("storing results and maps", "smaller outputs or more memory"),
    "ends": ("start and end of the frame", "nothing: latency of DRAM and of the program"),
}


def costliest(report: Report, count: int = COSTLIEST) -> list[LayerFacts]:
    """The layers that take most cycles, the first one most."""
    return sorted(report.layers, key=lambda layer: -layer.cycles)[:count]


def breakdown(report: Report) -> tuple[Share, ...]:
    """Where the estimated cycles of a frame go; the shares add up to all of them."""
    executed = report.model.macs - sum(x.skipped_macs for x in report.layers)
    work = executed / report.array.macs_per_cycle
    return shares(report.timeline.activities, report.estimate.cycles, work)


def shares(activities: Iterable[Activity], cycles: int, work: float) -> tuple[Share, ...]:
    """Where `cycles` go. work: cycles of a full array for the float network's multiply-accumulates;
    so what the rewrites of the compiler save counts as useful, as in the utilisation."""
    spent: dict[str, float] = defaultdict(float)
    last = 0
    for activity in activities:
        spent["order" if last else "ends"] += activity.start - last
        busy = activity.end - activity.start - activity.stall_weights - activity.stall_drain
        if activity.op == "conv":
            spent["mapping"] += busy
        else:
            spent["ends" if activity.op == "end" else activity.op] += busy
        spent["weights"] += activity.stall_weights
        spent["drain"] += activity.stall_drain
        last = activity.end
    spent["ends"] += cycles - last
    spent["work"] = round(work)
    spent["mapping"] -= spent["work"]
    return tuple(Share(title, round(spent[key]), what) for key, (title, what) in SHARES.items())


def largest_loss(shares: Sequence[Share]) -> Share:
    """Of all that `shares` returned but the useful work."""
    return max(shares[1:], key=lambda share: share.cycles)


def bottleneck(report: Report) -> str:
    """What limits the frame rate, in a sentence or two."""
    found = breakdown(report)
    work, loss = found[0], largest_loss(found)
    total = report.estimate.cycles
    busy = f"The MAC array does useful work for {100 * work.cycles / total:.1f} % of the cycles"
    rest = f"{loss.title}, {loss.cycles:,} cycles ({100 * loss.cycles / total:.1f} %)"
    if work.cycles * 2 > total:
        return f"{busy}: it is the bottleneck itself. The largest loss is {rest}."
    return f"{busy}. The bottleneck is {rest}; what helps: {loss.remedy}."


def simulated_ends(report: Report) -> list[int]:
    """Cycle at which each activity made way for the next one; empty without a simulation."""
    sim = report.simulation
    if sim is None or not sim.starts:
        return []
    return [*sim.starts[1:], sim.cycles]


def simulated_cycles(report: Report) -> dict[Key, int]:
    """Cycles by layer from its dispatch to the next one's; empty without a simulation."""
    cycles: dict[Key, int] = defaultdict(int)
    ends = simulated_ends(report)
    if ends:
        activities = report.timeline.activities
        for activity, (before, end) in zip(activities, pairwise((0, *ends)), strict=True):
            cycles[activity.layer, activity.op] += end - before
    return dict(cycles)
