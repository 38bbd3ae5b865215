"""The timing estimate of a whole accelerator: what every net hop may take at a clock.

A path of `cell_ps` picoseconds in cells and `hops` nets meets a clock if no hop takes more than
(period - cell_ps) / hops. Nothing is placed and no wire has a length: the estimate tells how much
room it leaves to the router, not what the router needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fpga_gen.contract.modules import class_of
from fpga_gen.report.timing import HOP_DELAYS, WANTED_PS, PathFacts, TimingFacts
from fpga_gen.synth.delay_paths import Delay, DelayPath
from fpga_gen.synth.design import MappedDesign
from fpga_gen.synth.hull import Line, delay_ps, envelope

KEPT_CLOCKS = range(50, 451, 25)  # MHz; the ten worst paths at each are kept in the table
WORST = 10
OWN_DELAYS = "constants of this project (synth/delays.toml)"


@dataclass(frozen=True)
class TimedPath:
    """A path of a whole accelerator. block: class of the block where it ends; path: its ends with
    the names of their module in front."""

    block: str
    path: DelayPath

    @property
    def group(self) -> tuple[str, str, float]:
        """Paths that are judged alike."""
        return self.block, self.path.domain, self.path.periods

    def mhz(self, hop_ps: float) -> float:
        """Highest clock of the engine that this path meets at a delay of each hop."""
        lines = (Line(c, n, "") for c, n in self.path.lines)
        return 1e6 * self.path.periods / delay_ps(lines, hop_ps)


def timed_paths(design: MappedDesign, block_of: Callable[[str], str] = class_of) -> list[TimedPath]:
    """All pairs of registers; those without a net between slices are left to the data sheets of
    their blocks."""
    found = []
    for block in design.blocks.values():
        for path in block.timing.delays:
            if any(hops for _, hops in path.lines):
                start, end = f"{block.name}/{path.start}", f"{block.name}/{path.end}"
                named = DelayPath(start, end, path.domain, path.periods, path.lines, path.via)
                found.append(TimedPath(block_of(block.name), named))
    return found


def worst_first(paths: Iterable[TimedPath], clock_mhz: float) -> list[TimedPath]:
    """By what they allow per hop at a clock."""
    period = 1e6 / clock_mhz
    return sorted(paths, key=lambda p: (p.path.allowed(period), p.path.start, p.path.end))


def notable(paths: list[TimedPath]) -> list[TimedPath]:
    """The paths that decide about some clock and hop delay, for every class of block, and the ten
    worst at many clocks: what the table of mapped engines keeps."""
    groups: dict[tuple, dict[Delay, TimedPath]] = defaultdict(dict)
    for path in paths:
        for delay in path.path.lines:
            groups[path.group].setdefault(delay, path)
    kept = {
        id(group[line.cell_ps, line.hops])
        for group in groups.values()
        for line in envelope(Line(*delay, "") for delay in group)
    }
    for clock in KEPT_CLOCKS:
        kept |= {id(path) for path in worst_first(paths, clock)[:WORST]}
    return [path for path in paths if id(path) in kept]


def highest_clock(paths: Iterable[TimedPath], hop_ps: float) -> float:
    """MHz that all paths meet at a delay of each hop."""
    return min(path.mhz(hop_ps) for path in paths)


def estimate_facts(paths: list[TimedPath], clock_mhz: float, family: str) -> dict:
    """Fields of `TimingFacts` that tell of picoseconds, from all paths or the notable ones."""
    ranked = worst_first(paths, clock_mhz)
    classes = {}
    for path in ranked:
        classes.setdefault(path.group[:2], path)
    wanted = WANTED_PS[family]
    hops = sorted({*HOP_DELAYS, wanted})
    return {
        "clock_mhz": clock_mhz,
        "allowed_ps_per_hop": round(ranked[0].path.allowed(1e6 / clock_mhz), 1),
        "wanted_ps_per_hop": wanted,
        "mhz_at_ps_per_hop": {str(h): round(highest_clock(paths, h), 1) for h in hops},
        "paths": tuple(path_facts(p, clock_mhz) for p in ranked[:WORST]),
        "classes": tuple(path_facts(p, clock_mhz) for p in classes.values()),
    }


def path_facts(timed: TimedPath, clock_mhz: float) -> PathFacts:
    """One path at a clock."""
    path, period = timed.path, 1e6 / clock_mhz
    cell_ps, hops = path.worst(period)
    return PathFacts(
        timed.block,
        path.domain,
        path.start,
        path.end,
        cell_ps,
        hops,
        round(path.allowed(period), 1),
        {str(h): round(timed.mhz(h), 1) for h in HOP_DELAYS},
    )


def tight(paths: Iterable[TimedPath], clock_mhz: float, family: str) -> int:
    """Number of paths that leave less per hop than is wanted."""
    period = 1e6 / clock_mhz
    return sum(path.path.allowed(period) < WANTED_PS[family] for path in paths)


def design_timing(
    design: MappedDesign,
    clock_mhz: float,
    family: str,
    max_fan_out: int,
    *,
    delays: str = OWN_DELAYS,
    block_of: Callable[[str], str] = class_of,
) -> TimingFacts:
    """Everything that the netlist tells about the clock."""
    paths = timed_paths(design, block_of)
    worst, widest = design.worst, design.widest
    return TimingFacts(
        worst.levels,
        worst.start,
        worst.end,
        len(design.wide_nets(max_fan_out)),
        max_fan_out,
        widest.loads,
        widest.net,
        design.control_sets,
        pairs=len(paths),
        tight_pairs=tight(paths, clock_mhz, family),
        delays=delays,
        **estimate_facts(paths, clock_mhz, family),
    )


def to_rows(paths: Iterable[TimedPath]) -> list[list]:
    """Paths as costs.json holds them."""
    return [
        [p.block, p.path.domain, p.path.periods, p.path.start, p.path.end,
         [list(line) for line in p.path.lines]]
        for p in paths
    ]  # fmt: skip


def from_rows(rows: Iterable[list]) -> list[TimedPath]:
    """Inverse of `to_rows`."""
    return [
        TimedPath(block, DelayPath(start, end, domain, periods, tuple((c, n) for c, n in lines)))
        for block, domain, periods, start, end, lines in rows
    ]
