"""Leaf modules: emitted once as Verilog, placed many times.

Amaranth writes one module per component object, so every distinct leaf is converted once and
placed as a black box. For unit tests the same call places the component itself (`expand`).
"""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In


class Leaf(wiring.Component):
    """A component that may also be made only to ask for its latency or to stand for an Instance."""

    _MustUse__silence = True  # Amaranth would warn of every one that is not elaborated


def emit_leaf(component: wiring.Component, name: str) -> str:
    """Verilog of one component as module `name`; ports are its members plus clk and rst."""
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)


def place(
    m: Module,
    label: str,
    component: wiring.Component,
    name: str,
    pins: dict[str, ValueLike],
    *,
    expand: bool = False,
) -> None:
    """Add one copy of a leaf to `m`: an `Instance` of module `name`, or the component itself.

    pins: a value for every member of the component; outputs must be signals.
    """
    members = component.signature.members
    assert set(pins) == set(members), f"{name}: pins {sorted(set(pins) ^ set(members))} differ"
    if expand:
        m.submodules[label] = component
        for pin, value in pins.items():
            port = getattr(component, pin)
            m.d.comb += port.eq(value) if members[pin].flow is In else Value.cast(value).eq(port)
        return
    ports = {
        ("i_" if members[pin].flow is In else "o_") + pin: value for pin, value in pins.items()
    }
    m.submodules[label] = Instance(name, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports)


def fields(value: Value, width: int) -> list[Value]:
    """`value` cut into parts of `width` bits, least significant first."""
    return [value[at : at + width] for at in range(0, len(value), width)]
