"""Control sets of a mapped design: flip-flops that may share a slice.

A control set is a clock with an enable and a reset or set. Sets whose three nets come from outside
a module are its parent's as well, so a whole design is counted exactly, module by module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fpga_gen.synth.cells import is_flip_flop, is_primitive
from fpga_gen.synth.netlist import Bit, Netlist

RESETS = ("R", "S", "CLR", "PRE")

Net = tuple[str, int] | str  # a port's bit, or a constant


@dataclass(frozen=True)
class ControlSets:
    """inside: sets with a net of the module's own, those of the modules that it places included;
    outside: sets whose nets are all ports or constants."""

    inside: int
    outside: frozenset[tuple[Net, ...]]

    @property
    def total(self) -> int:
        return self.inside + len(self.outside)


def control_sets(netlist: Netlist, children: Mapping[str, ControlSets]) -> ControlSets:
    """Of one module; children: by the kind of their cells."""
    ports = {
        bit: (port, index)
        for port, bits in netlist.inputs.items()
        for index, bit in enumerate(bits)
    }
    inside, found = 0, set()
    for cell in netlist.cells:
        if is_flip_flop(cell.kind):
            reset = next((cell.pins[pin][0] for pin in RESETS if pin in cell.pins), "0")
            enable = cell.pins["CE"][0] if "CE" in cell.pins else "1"
            clock = cell.pins["C" if "C" in cell.pins else "G"][0]
            found.add((clock, enable, reset))
        elif not is_primitive(cell.kind):
            child = children[cell.kind]
            inside += child.inside
            found |= {
                tuple(net if isinstance(net, str) else _bit(cell.pins, net) for net in nets)
                for nets in child.outside
            }
    outside = {
        tuple(ports[net] if net in ports else net for net in nets)
        for nets in found
        if all(isinstance(net, str) or net in ports for net in nets)
    }
    return ControlSets(inside + len(found) - len(outside), frozenset(outside))


def _bit(pins: Mapping[str, tuple[Bit, ...]], port: tuple[str, int]) -> Bit:
    """What an instance's port is connected to; nothing counts as 0."""
    bits = pins.get(port[0], ())
    return bits[port[1]] if port[1] < len(bits) else "0"
