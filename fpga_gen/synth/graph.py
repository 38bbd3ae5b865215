"""The timing graph of one mapped module: arcs, sources and ends, and the loads of its nets."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fpga_gen.errors import ToolError
from fpga_gen.synth.arcs import CONTROL_PINS, Arc, End, Start, cell_items
from fpga_gen.synth.cells import is_flip_flop, is_primitive
from fpga_gen.synth.delays import Delays
from fpga_gen.synth.netlist import Bit, Cell, Netlist, is_clock_pin, is_output_pin
from fpga_gen.synth.nets import Nets

if TYPE_CHECKING:
    from fpga_gen.synth.levels import Outside

Pin = tuple[str, int]  # port, index


def base_name(name: str) -> str:
    """A register without its bit: what a designer calls it."""
    return re.sub(r"\[\d+\]", "", name)


class TimingGraph:
    """starts, ends: of the deepest path in levels; launches, captures: of all the lines that count
    in picoseconds; order: the bits with arcs, in order of arrival; position: of a
    bit in it; inputs: port and index by bit; loads: (all, clock enables and resets) by bit; taker:
    a register that a net feeds."""

    def __init__(self, netlist: Netlist, children: Mapping[str, Outside], delays: Delays) -> None:
        self.netlist = netlist
        self.arcs_out: dict[int, list[Arc]] = defaultdict(list)
        self.arcs_in: dict[int, list[Arc]] = defaultdict(list)
        self.starts: dict[int, Start] = {}
        self.ends: dict[int, list[End]] = defaultdict(list)
        self.launches: dict[int, list[Start]] = defaultdict(list)
        self.captures: dict[int, list[End]] = defaultdict(list)
        self.loads: dict[Bit, list[int]] = defaultdict(lambda: [0, 0])
        self.taker: dict[Bit, str] = {}
        self.inputs = {
            bit: (port, i)
            for port, bits in netlist.inputs.items()
            for i, bit in enumerate(bits)
            if isinstance(bit, int)
        }
        nets = Nets(netlist)
        for cell in netlist.cells:
            if is_primitive(cell.kind):
                self._add_primitive(cell, nets, delays)
            else:
                self._add_child(cell, children[cell.kind])
        self.order = self._sort()
        self.position = {bit: n for n, bit in enumerate(self.order)}

    def _add_primitive(self, cell: Cell, nets: Nets, delays: Delays) -> None:
        for item in cell_items(self.netlist, cell, nets, delays):
            self._add(item)
            if isinstance(item, Start):
                self.launches[item.bit].append(item)
            elif isinstance(item, End):
                self.captures[item.bit].append(item)
        for pin, bits in cell.pins.items():
            if is_output_pin(cell.kind, pin) or is_clock_pin(pin):
                continue
            for bit in bits:
                self.loads[bit][0] += 1
                self.loads[bit][1] += pin in CONTROL_PINS
                if is_flip_flop(cell.kind) and bit not in self.taker:
                    self.taker[bit] = self.netlist.name_of(cell.pins["Q"][0])

    def _add(self, item: Arc | Start | End) -> None:
        if isinstance(item, Arc):
            self.arcs_out[item.source].append(item)
            self.arcs_in[item.target].append(item)
        elif isinstance(item, End):
            self.ends[item.bit].append(item)
        elif item.bit not in self.starts or self.starts[item.bit].levels < item.levels:
            self.starts[item.bit] = item

    def _add_child(self, cell: Cell, child: Outside) -> None:
        label = re.sub(r"\$\d+$", "", cell.name)

        def net(pin: Pin) -> int | None:
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
                        delays = child.delays.through.get((source, pin), ((0, 0),))
                        self._add(Arc(bit, out, levels, delays=delays))
        for pin, (loads, control) in child.loads.items():
            if (bit := net(pin)) is not None:
                self.loads[bit][0] += loads
                self.loads[bit][1] += control
        for pin, starts in child.delays.launch.items():
            if (bit := net(pin)) is not None:
                self.launches[bit] += [s.placed(bit, label) for s in starts]
        for pin, ends in child.delays.capture.items():
            if (bit := net(pin)) is not None:
                self.captures[bit] += [e.placed(bit, label) for e in ends]

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

    def reached(self, bits: Iterable[int]) -> set[int]:
        """The bits that arcs lead to from these, themselves included."""
        seen, work = set(bits), list(bits)
        while work:
            for arc in self.arcs_out.get(work.pop(), ()):
                if arc.target not in seen:
                    seen.add(arc.target)
                    work.append(arc.target)
        return seen
