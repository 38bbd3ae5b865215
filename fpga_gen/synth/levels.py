"""Longest register-to-register path of mapped modules, in levels (see cells.py), and fan-out.

Every module is analysed once with its children seen from outside: what they launch at their
outputs, what they capture behind their inputs, what passes straight through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fpga_gen.synth.arcs import CHAIN, Arc
from fpga_gen.synth.delay_paths import DelayOutside, DelayPath, delay_timing
from fpga_gen.synth.delays import Delays, default_delays
from fpga_gen.synth.graph import Pin, TimingGraph, base_name
from fpga_gen.synth.netlist import Netlist


@dataclass(frozen=True)
class Path:
    """Levels between two registers, with the nets on the way."""

    levels: int
    start: str
    end: str
    via: tuple[str, ...] = ()


@dataclass(frozen=True)
class FanOut:
    """Loads of one register or gate; control: those that are clock enables and resets."""

    loads: int
    control: int
    net: str


@dataclass(frozen=True)
class Outside:
    """A module as its parent sees it. launch: levels and start behind an output; capture: levels
    and end behind an input; through: output -> (input, levels); loads, control: inside a port's
    net; driven: loads of an output's net inside; delays: the first three in picoseconds."""

    launch: Mapping[Pin, tuple[int, str]]
    capture: Mapping[Pin, tuple[int, str]]
    through: Mapping[Pin, tuple[tuple[Pin, int], ...]]
    loads: Mapping[Pin, tuple[int, int]]
    delays: DelayOutside = field(default_factory=DelayOutside)

    @property
    def fan_out(self) -> tuple[FanOut, ...]:
        """Widest net of every port."""
        widest: dict[str, FanOut] = {}
        for (port, _), (loads, control) in self.loads.items():
            if port not in widest or loads > widest[port].loads:
                widest[port] = FanOut(loads, control, port)
        return tuple(widest.values())


@dataclass(frozen=True)
class ModuleTiming:
    """paths: one per pair of registers, deepest first; fan_out: nets that end in this module;
    delays: the same pairs in picoseconds."""

    outside: Outside
    paths: tuple[Path, ...]
    fan_out: tuple[FanOut, ...] = field(repr=False, default=())
    delays: tuple[DelayPath, ...] = field(repr=False, default=())

    @property
    def worst(self) -> Path:
        return self.paths[0] if self.paths else Path(0, "", "")


def analyse(
    netlist: Netlist,
    children: Mapping[str, Outside],
    min_levels: int = 1,
    delays: Delays | None = None,
) -> ModuleTiming:
    """Paths of at least `min_levels` that end in this module or between its children; delays: of
    the cells, without them those of UltraScale+."""
    graph = TimingGraph(netlist, children, delays or default_delays("xcup"))
    return _Analysis(graph).result(min_levels)


class _Analysis:
    def __init__(self, graph: TimingGraph) -> None:
        self.graph, self.netlist = graph, graph.netlist
        self.arcs_out, self.arcs_in = graph.arcs_out, graph.arcs_in
        self.starts, self.ends, self.order = graph.starts, graph.ends, graph.order
        self.inputs, self.loads, self.taker = graph.inputs, graph.loads, graph.taker

    def _forward(self) -> tuple[dict[int, float], dict[int, Arc]]:
        """Arrival of register outputs at every bit, and the arc that it came by."""
        arrival = {bit: float(start.levels) for bit, start in self.starts.items()}
        came: dict[int, Arc] = {}
        for bit in self.order:
            if bit not in arrival:
                continue
            for arc in self.arcs_out.get(bit, ()):
                value = _pass(arrival[bit], arc)
                if value > arrival.get(arc.target, -1):
                    arrival[arc.target] = value
                    came[arc.target] = arc
        return arrival, came

    def _backward(self) -> dict[int, tuple[float, str]]:
        """Levels from every bit to the deepest end behind it."""
        behind: dict[int, tuple[float, str]] = {}
        for bit, ends in self.ends.items():
            deepest = max(ends, key=lambda e: e.levels)
            behind[bit] = (float(deepest.levels), deepest.name)
        for bit in reversed(self.order):
            for arc in self.arcs_out.get(bit, ()):
                if arc.target in behind:
                    rest, name = behind[arc.target]
                    value = rest + arc.levels if arc.way == CHAIN else math.ceil(rest + arc.levels)
                    if bit not in behind or value > behind[bit][0]:
                        behind[bit] = (value, name)
        return behind

    def result(self, min_levels: int) -> ModuleTiming:
        arrival, came = self._forward()
        behind = self._backward()
        launch, through, capture, loads = {}, {}, {}, {}
        from_inputs = self.graph.reached(self.inputs)
        outputs = set()
        for port, bits in self.netlist.outputs.items():
            for i, bit in enumerate(bits):
                if not isinstance(bit, int):
                    continue
                outputs.add(bit)
                if bit in arrival:
                    start = self._start_of(bit, came)
                    launch[port, i] = (math.ceil(arrival[bit]), start)
                if bit in from_inputs:
                    through[port, i] = self._through(bit, from_inputs)
                loads[port, i] = tuple(self.loads[bit])
        for bit, pin in self.inputs.items():
            if bit in behind:
                capture[pin] = (math.ceil(behind[bit][0]), behind[bit][1])
            loads[pin] = tuple(self.loads[bit])
        outside_ps, paths_ps = delay_timing(self.graph)
        outside = Outside(launch, capture, through, loads, outside_ps)
        paths = self._paths(arrival, came, min_levels)
        return ModuleTiming(outside, paths, self._wide(outputs), paths_ps)

    def _start_of(self, bit: int, came: Mapping[int, Arc]) -> str:
        while bit in came:
            bit = came[bit].source
        return self.starts[bit].name

    def _through(self, out: int, inside: set[int]) -> tuple[tuple[Pin, int], ...]:
        """Inputs in the cone of an output and the levels to it."""
        best: dict[int, float] = {out: 0.0}
        cone, work = {out}, [out]
        while work:
            for arc in self.arcs_in.get(work.pop(), ()):
                if arc.source in inside and arc.source not in cone:
                    cone.add(arc.source)
                    work.append(arc.source)
        position = self.graph.position
        for bit in sorted(cone, key=lambda b: position.get(b, -1), reverse=True):
            for arc in self.arcs_in.get(bit, ()):
                if arc.source in cone and bit in best:
                    value = best[bit] + arc.levels
                    value = value if arc.way == CHAIN else math.ceil(value)
                    best[arc.source] = max(best.get(arc.source, 0), value)
        return tuple(
            (self.inputs[bit], math.ceil(best[bit]))
            for bit in cone
            if bit in self.inputs and bit in best
        )

    def _paths(self, arrival, came, min_levels: int) -> tuple[Path, ...]:
        best: dict[tuple[str, str], tuple[int, int, str]] = {}
        for bit, ends in self.ends.items():
            if bit not in arrival:
                continue
            for end in ends:
                levels = math.ceil(arrival[bit]) + end.levels
                if levels < min_levels:
                    continue
                key = (base_name(self._start_of(bit, came)), base_name(end.name))
                if key not in best or levels > best[key][0]:
                    best[key] = (levels, bit, end.name)
        paths = []
        for levels, bit, end in best.values():
            start, via = self._trace(bit, came)
            paths.append(Path(levels, start, end, via))
        return tuple(sorted(paths, key=lambda p: (-p.levels, p.start, p.end)))

    def _trace(self, bit: int, came: Mapping[int, Arc]) -> tuple[str, tuple[str, ...]]:
        via = []
        while bit in came:
            name = base_name(self.netlist.name_of(bit))
            if "$" not in name and not name.startswith("net ") and name not in via[-1:]:
                via.append(name)
            bit = came[bit].source
        return self.starts[bit].name, tuple(reversed(via))

    def _wide(self, outputs: set[int]) -> tuple[FanOut, ...]:
        """Widest net of every register or gate whose net ends here; loads above one only."""
        found: dict[str, FanOut] = {}
        for bit, (loads, control) in self.loads.items():
            if bit in self.inputs or bit in outputs or not isinstance(bit, int) or loads < 2:
                continue
            start = self.starts.get(bit)
            name = start.name if start else self.netlist.name_of(bit)
            if "$" in name and bit in self.taker:
                name = f"gate of {base_name(self.taker[bit])}"
            key = base_name(name)
            if key not in found or loads > found[key].loads:
                found[key] = FanOut(loads, control, name)
        return tuple(sorted(found.values(), key=lambda f: (-f.loads, f.net)))


def _pass(value: float, arc: Arc) -> float:
    return (value if arc.way == CHAIN else math.ceil(value)) + arc.levels
