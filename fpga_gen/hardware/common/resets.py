"""The reset of a part of the design: one registered copy for every 64 loads, all equally late.

Only what must be right when a run starts is reset: valid flags, states, counters, pointers. Data
that are written before they are read are registers without reset (`data_register`, `reset_less`);
pipelines of flags drain by themselves, as a reset lasts longer than they are deep.
"""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Module, Signal, Value, ValueLike

from fpga_gen.hardware.common.fan_out import KEEP

RESET_LATENCY = 2  # cycles from the tree's input to its copies


def reset_tree(m: Module, reset: Value, count: int) -> list[Signal]:
    """`count` copies of `reset`, RESET_LATENCY cycles late, behind one register.

    Every copy serves one part: ResetInserter(copy)(part). The copies share a name, so that equal
    parts stay equal modules."""
    root = Signal(name="reset_root", reset_less=True, attrs=KEEP)
    tree = [Signal(name="reset", reset_less=True, attrs=KEEP) for _ in range(count)]
    m.d.sync += [root.eq(reset), *(copy.eq(root) for copy in tree)]
    return tree


def clear(m: Module, reset: Value, signals: Iterable[Signal]) -> None:
    """Reset some registers of a module; to be called after what else writes them."""
    with m.If(reset):
        m.d.sync += [signal.eq(signal.init) for signal in signals]


def data_register(m: Module, port: ValueLike, **attributes) -> Signal:
    """A register without reset that drives an output of a component, of the same shape."""
    name = Value.cast(port).name
    register = Signal.like(port, name=f"{name}_register", reset_less=True, **attributes)
    m.d.comb += port.eq(register)
    return register
