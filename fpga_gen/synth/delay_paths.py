"""Register-to-register paths of mapped modules in picoseconds and hops (see hull.py).

Modules are composed as in levels.py. At every bit the lines are kept apart by the clock that
launches them: with two clocks, what a path may take depends on both of its ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fpga_gen.synth.arcs import End, Start
from fpga_gen.synth.graph import Pin, TimingGraph, base_name
from fpga_gen.synth.hull import Line, allowed_ps, envelope

ENGINE, DOUBLE, CROSSING = "engine clock", "double clock", "crossing"
Delay = tuple[int, int]  # picoseconds in cells, hops


@dataclass(frozen=True)
class DelayOutside:
    """A module as its parent sees it. launch: what its outputs start with; capture: what ends
    behind its inputs; through: by (input, output), the lines straight through it."""

    launch: Mapping[Pin, tuple[Start, ...]] = field(default_factory=dict)
    capture: Mapping[Pin, tuple[End, ...]] = field(default_factory=dict)
    through: Mapping[tuple[Pin, Pin], tuple[Delay, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class DelayPath:
    """All paths between two registers. domain: the clock of both, or that they differ; periods:
    what the path may take, in periods of the engine's clock; lines: those that are the longest at
    some hop delay; via: named nets on the way of the one with the most hops."""

    start: str
    end: str
    domain: str
    periods: float
    lines: tuple[Delay, ...]
    via: tuple[str, ...] = ()

    def allowed(self, period_ps: float) -> float:
        """Picoseconds that a hop may take at a period of the engine's clock."""
        return allowed_ps((Line(c, n, "") for c, n in self.lines), self.periods * period_ps)

    def worst(self, period_ps: float) -> Delay:
        """The line that allows the least."""
        budget = self.periods * period_ps
        return min(self.lines, key=lambda x: allowed_ps((Line(*x, ""),), budget))


Arrivals = dict[bool, tuple[Line, ...]]  # by whether the launching clock is the fast one


def delay_timing(graph: TimingGraph) -> tuple[DelayOutside, tuple[DelayPath, ...]]:
    """One module: as its parent sees it, and the paths that end in it or between its children."""
    forward, backward = _forward(graph), _backward(graph)
    launch, through = {}, {}
    from_inputs = graph.reached(graph.inputs)
    for port, bits in graph.netlist.outputs.items():
        for i, bit in enumerate(bits):
            if not isinstance(bit, int):
                continue
            if bit in forward:
                launch[port, i] = tuple(
                    Start(bit, 0, line.name, line.cell_ps, line.hops, fast)
                    for fast, lines in forward[bit].items()
                    for line in lines
                )
            if bit in from_inputs:
                for pin, delays in _through(graph, bit, from_inputs).items():
                    through[pin, (port, i)] = delays
    capture = {pin: backward[bit] for bit, pin in graph.inputs.items() if bit in backward}
    return DelayOutside(launch, capture, through), _paths(graph, forward)


def _forward(graph: TimingGraph) -> dict[int, Arrivals]:
    """Lines from the registers to every bit."""
    arrivals: dict[int, Arrivals] = {}
    for bit, starts in graph.launches.items():
        arrivals[bit] = _by_clock((s.fast, Line(s.ps, s.hops, s.name)) for s in starts)
    for bit in graph.order:
        arcs = graph.arcs_in.get(bit)
        if not arcs:
            continue
        found = [
            (fast, Line(line.cell_ps + ps, line.hops + hops, line.name, (line, arc.source)))
            for arc in arcs
            for fast, lines in arrivals.get(arc.source, {}).items()
            for line in lines
            for ps, hops in arc.delays
        ]
        if bit in arrivals:
            found += [(fast, x) for fast, lines in arrivals[bit].items() for x in lines]
        if found:
            arrivals[bit] = _by_clock(found)
    return arrivals


def _by_clock(found: Iterable[tuple[bool, Line]]) -> Arrivals:
    lines: dict[bool, list[Line]] = defaultdict(list)
    for fast, line in found:
        lines[fast].append(line)
    return {fast: envelope(items) for fast, items in lines.items()}


def _backward(graph: TimingGraph) -> dict[int, tuple[End, ...]]:
    """Ends behind every bit that leads to one."""
    needed = graph.reached(graph.inputs)
    behind: dict[int, tuple[End, ...]] = {
        bit: _reduced(ends) for bit, ends in graph.captures.items() if bit in needed
    }
    for bit in reversed(graph.order):
        if bit not in needed:
            continue
        found = [
            replace(end, bit=bit, ps=end.ps + ps, hops=end.hops + hops)
            for arc in graph.arcs_out.get(bit, ())
            for end in behind.get(arc.target, ())
            for ps, hops in arc.delays
        ]
        if found:
            behind[bit] = _reduced([*behind.get(bit, ()), *found])
    return behind


def _reduced(ends: Iterable[End]) -> tuple[End, ...]:
    """Those that are the furthest at some hop delay, for each clock."""
    groups: dict[tuple[bool, int], dict[Delay, End]] = defaultdict(dict)
    for end in ends:
        groups[end.fast, end.cycles].setdefault((end.ps, end.hops), end)
    return tuple(
        group[line.cell_ps, line.hops]
        for group in groups.values()
        for line in envelope(Line(ps, hops, "") for ps, hops in group)
    )


def _through(graph: TimingGraph, out: int, inside: set[int]) -> dict[Pin, tuple[Delay, ...]]:
    """Lines from the inputs in the cone of an output to it."""
    lines: dict[int, tuple[Line, ...]] = {out: (Line(0, 0, ""),)}
    cone, work = {out}, [out]
    while work:
        for arc in graph.arcs_in.get(work.pop(), ()):
            if arc.source in inside and arc.source not in cone:
                cone.add(arc.source)
                work.append(arc.source)
    for bit in sorted(cone, key=lambda b: graph.position.get(b, len(graph.order)), reverse=True):
        if bit == out:
            continue
        lines[bit] = envelope(
            Line(line.cell_ps + ps, line.hops + hops, "")
            for arc in graph.arcs_out.get(bit, ())
            if arc.target in cone
            for line in lines[arc.target]
            for ps, hops in arc.delays
        )
    return {
        graph.inputs[bit]: tuple((x.cell_ps, x.hops) for x in lines[bit])
        for bit in cone
        if bit in graph.inputs
    }


def _clocks(launched_fast: bool, end: End) -> tuple[str, float]:
    """(domain, periods of the engine's clock) of a path."""
    if launched_fast == end.fast:
        return (DOUBLE, 0.5) if end.fast else (ENGINE, 1.0)
    return CROSSING, 0.5 * (end.cycles if end.fast else 1)


def _paths(graph: TimingGraph, forward: Mapping[int, Arrivals]) -> tuple[DelayPath, ...]:
    found: dict[tuple[str, str, str, float], dict[Delay, tuple[Line, int]]] = defaultdict(dict)
    for bit, ends in graph.captures.items():
        for fast, arrivals in forward.get(bit, {}).items():
            for end in ends:
                domain, periods = _clocks(fast, end)
                for line in arrivals:
                    delay = line.cell_ps + end.ps, line.hops + end.hops
                    pair = base_name(line.name), base_name(end.name), domain, periods
                    found[pair].setdefault(delay, (line, bit))
    paths = []
    for (start, end, domain, periods), delays in found.items():
        kept = tuple((x.cell_ps, x.hops) for x in envelope(Line(*d, "") for d in delays))
        via = _trace(graph, *delays[kept[-1]])
        paths.append(DelayPath(start, end, domain, periods, kept, via))
    return tuple(sorted(paths, key=lambda p: (p.domain, p.start, p.end, p.periods)))


def _trace(graph: TimingGraph, line: Line, bit: int) -> tuple[str, ...]:
    """Named nets from a register to a bit."""
    nets = [bit]
    while line.before is not None:
        line, bit = line.before
        nets.append(bit)
    names: list[str] = []
    for net in reversed(nets[:-1]):
        name = base_name(graph.netlist.name_of(net))
        if "$" not in name and not name.startswith("net ") and name not in names[-1:]:
            names.append(name)
    return tuple(names)
