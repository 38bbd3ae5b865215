"""Leaf modules: emitted once as Verilog, placed many times.

Amaranth writes one module per component object, so every distinct leaf is converted once and
placed as a black box. For unit tests the same call places the component itself (`expand`).
"""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.hdl import Cat, ClockSignal, Instance, Module, ResetSignal, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from fpga_gen.hardware.common.fan_out import LOADS, tree


class Leaf(wiring.Component):
    """A component that may also be made only to ask for its latency or to stand for an Instance."""

    _MustUse__silence = True  # Amaranth would warn of every one that is not elaborated


def emit_leaf(component: wiring.Component, name: str) -> str:
    """Verilog of one component as module `name`; ports are its members plus clk and rst."""
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)


def emit_either(twin: wiring.Component, primitives: wiring.Component, name: str) -> str:
    """Verilog of a leaf in two forms: its behavioural twin for Verilator, primitives otherwise."""
    return f"`ifdef VERILATOR\n{emit_leaf(twin, name)}`else\n{emit_leaf(primitives, name)}`endif\n"


def emit_leaves(leaves: dict[str, Leaf]) -> dict[str, str]:
    """{module name: Verilog} of several leaves."""
    return {name: emit_leaf(component, name) for name, component in leaves.items()}


def verilator_config(leaves: dict[str, wiring.Signature]) -> str:
    """Verilator control file that keeps leaves (module name: ports) apart from each other.

    A leaf that is not inlined and whose inputs are public has code that refers to nothing outside
    it, so Verilator (with -fno-dfg) emits one C++ function for all its copies: four times as fast
    and a tenth of the code.
    """
    lines = ["`verilator_config"]
    for name, signature in leaves.items():
        lines.append(f'no_inline -module "{name}"')
        lines += [
            f'public_flat_rd -module "{name}" -var "{pin}"'
            for pin, member in signature.members.items()
            if member.flow is In
        ]
    return "\n".join(lines) + "\n"


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

    pins: a value for every member of the component; outputs must be signals. In a design whose
    clock domain has no reset, neither has the leaf.
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
    m.submodules[label] = Instance(
        name, i_clk=ClockSignal(), i_rst=ResetSignal(allow_reset_less=True), **ports
    )


def place_ports(m: Module, label: str, component: wiring.Component, name: str):
    """Add one copy of a leaf whose members are signatures to `m`, an `Instance` of module `name`;
    returns its ports, an interface object of the component's signature."""
    pins = component.signature.create(path=(label,))
    ports = {
        ("i_" if member.flow is In else "o_") + "__".join(map(str, path)): value
        for path, member, value in component.signature.flatten(pins)
    }
    m.submodules[label] = Instance(
        name, i_clk=ClockSignal(), i_rst=ResetSignal(allow_reset_less=True), **ports
    )
    return pins


def fields(value: Value, width: int) -> list[Value]:
    """`value` cut into parts of `width` bits, least significant first."""
    return [value[at : at + width] for at in range(0, len(value), width)]


def read_lane(m: Module, lane: Value, words: list[Value], cycles: int, name: str = "read") -> Value:
    """Registered word of the lane that was asked for `cycles` ago.

    words: one value per lane, valid `cycles` after the request.
    """
    piece = LOADS // 2
    count = -(-len(words[0]) // piece)
    levels = ([1] * cycles + [-(-count // 8), count])[-cycles:]
    controls = tree(m, lane, levels, f"{name}_lane")
    out = []
    for n, control in enumerate(controls):
        part = Signal(min(piece, len(words[0]) - n * piece), name=f"{name}_{n}", reset_less=True)
        with m.Switch(control):
            for j, word in enumerate(words):
                with m.Case(j):
                    m.d.sync += part.eq(word[n * piece : n * piece + len(part)])
        out.append(part)
    return Cat(out)
