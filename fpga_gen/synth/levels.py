"""Longest register-to-register path of mapped modules, in levels (see cells.py), and fan-out.

Every module is analysed once with its children seen from outside: what they launch at their
outputs, what they capture behind their inputs, what passes straight through.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fpga_gen.errors import ToolError
from fpga_gen.synth.arcs import CHAIN, Arc, End, Start, cell_items
from fpga_gen.synth.cells import is_flip_flop, is_lut, is_primitive
from fpga_gen.synth.netlist import Bit, Netlist, is_clock_pin, is_output_pin

Pin = tuple[str, int]  # port, index
CONTROL_PINS = ("CE", "R", "S", "CLR", "PRE")


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
    net; driven: loads of an output's net inside."""

    launch: Mapping[Pin, tuple[int, str]]
    capture: Mapping[Pin, tuple[int, str]]
    through: Mapping[Pin, tuple[tuple[Pin, int], ...]]
    loads: Mapping[Pin, tuple[int, int]]

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
    """paths: one per pair of registers, deepest first; fan_out: nets that end in this module."""

    outside: Outside
    paths: tuple[Path, ...]
    fan_out: tuple[FanOut, ...] = field(repr=False, default=())

    @property
    def worst(self) -> Path:
        return self.paths[0] if self.paths else Path(0, "", "")


def analyse(netlist: Netlist, children: Mapping[str, Outside], min_levels: int = 1) -> ModuleTiming:
    """Paths of at least `min_levels` that end in this module or between its children."""
    return _Analysis(netlist, children).result(min_levels)


def base_name(name: str) -> str:
    """A register without its bit: what a designer calls it."""
    return re.sub(r"\[\d+\]", "", name)


class _Analysis:
    def __init__(self, netlist: Netlist, children: Mapping[str, Outside]) -> None:
        self.netlist = netlist
        self.arcs_out: dict[int, list[Arc]] = defaultdict(list)
        self.arcs_in: dict[int, list[Arc]] = defaultdict(list)
        self.starts: dict[int, Start] = {}
        self.ends: dict[int, list[End]] = defaultdict(list)
        self.loads: dict[Bit, list[int]] = defaultdict(lambda: [0, 0])
        self.taker: dict[Bit, str] = {}  # a register that a net feeds, to name nets without one
        self.inputs = {
            bit: (port, i)
            for port, bits in netlist.inputs.items()
            for i, bit in enumerate(bits)
            if isinstance(bit, int)
        }
        self._collect(children)
        self.order = self._sort()

    def _collect(self, children: Mapping[str, Outside]) -> None:
        lut_driven = frozenset(
            bit
            for cell in self.netlist.primitives()
            if is_lut(cell.kind)
            for bit in cell.pins["O"]
            if isinstance(bit, int)
        )
        for cell in self.netlist.cells:
            if is_primitive(cell.kind):
                for item in cell_items(self.netlist, cell, lut_driven):
                    self._add(item)
                for pin, bits in cell.pins.items():
                    if is_output_pin(cell.kind, pin) or is_clock_pin(pin):
                        continue
                    for bit in bits:
                        self.loads[bit][0] += 1
                        self.loads[bit][1] += pin in CONTROL_PINS
                        if is_flip_flop(cell.kind) and bit not in self.taker:
                            self.taker[bit] = self.netlist.name_of(cell.pins["Q"][0])
            else:
                self._add_child(cell, children[cell.kind])

    def _add(self, item: Arc | Start | End) -> None:
        if isinstance(item, Arc):
            self.arcs_out[item.source].append(item)
            self.arcs_in[item.target].append(item)
        elif isinstance(item, End):
            self.ends[item.bit].append(item)
        elif item.bit not in self.starts or self.starts[item.bit].levels < item.levels:
            self.starts[item.bit] = item

    def _add_child(self, cell, child: Outside) -> None:
        label = re.sub(r"\$\d+$", "", cell.name)

        def net(pin: Pin):
            bits = cell.pins.get(pin[0], ())
            bit = bits[pin[1]] if pin[1] < len(bits) else None
            return bit if isinstance(bit, int) else None

        for pin, (levels, name) in child.launch.items():
            if (bit := net(pin)) is not None:
                self._add(Start(bit, levels, f"{label}.{name}"))
        for pin, (levels, name) in child.capture.items():
            if (bit := net(pin)) is not None:
                self._add(End(bit, levels, f"{label}.{name}"))
        for pin, sources in child.through.items():
            if (out := net(pin)) is not None:
                for source, levels in sources:
                    if (bit := net(source)) is not None:
                        self._add(Arc(bit, out, levels))
        for pin, (loads, control) in child.loads.items():
            if (bit := net(pin)) is not None:
                self.loads[bit][0] += loads
                self.loads[bit][1] += control

    def _sort(self) -> list[int]:
        """Bits in order of arrival."""
        waiting = {bit: len(arcs) for bit, arcs in self.arcs_in.items()}
        ready = [bit for bit in self.arcs_out if not waiting.get(bit)]
        order = []
        while ready:
            bit = ready.pop()
            order.append(bit)
            for arc in self.arcs_out.get(bit, ()):
                waiting[arc.target] -= 1
                if not waiting[arc.target]:
                    ready.append(arc.target)
        stuck = [bit for bit, count in waiting.items() if count]
        if stuck:
            net = self.netlist.name_of(stuck[0])
            raise ToolError("yosys", f"{self.netlist.name}: combinational loop through {net}")
        return order

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
        from_inputs = self._reached(self.inputs)
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
        outside = Outside(launch, capture, through, loads)
        return ModuleTiming(outside, self._paths(arrival, came, min_levels), self._wide(outputs))

    def _start_of(self, bit: int, came: Mapping[int, Arc]) -> str:
        while bit in came:
            bit = came[bit].source
        return self.starts[bit].name

    def _reached(self, bits) -> set[int]:
        seen, work = set(bits), list(bits)
        while work:
            for arc in self.arcs_out.get(work.pop(), ()):
                if arc.target not in seen:
                    seen.add(arc.target)
                    work.append(arc.target)
        return seen

    def _through(self, out: int, inside: set[int]) -> tuple[tuple[Pin, int], ...]:
        """Inputs in the cone of an output and the levels to it."""
        best: dict[int, float] = {out: 0.0}
        cone, work = {out}, [out]
        while work:
            for arc in self.arcs_in.get(work.pop(), ()):
                if arc.source in inside and arc.source not in cone:
                    cone.add(arc.source)
                    work.append(arc.source)
        position = self._position
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

    @cached_property
    def _position(self) -> dict[int, int]:
        return {bit: n for n, bit in enumerate(self.order)}

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
