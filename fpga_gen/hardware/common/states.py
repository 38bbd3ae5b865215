"""A state machine with a register for each of its states.

What acts in a state has that register for a gate and decodes nothing; the next state of every one
is an OR of what leads to it. (A state that is a number, in nested choices, costs four levels of
logic more, which no tool takes out again.)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Const, Module, Signal, Value, ValueLike

from fpga_gen.hardware.common.fan_out import KEEP

ALWAYS = Const(1, 1)


class States:
    """now[name]: 1 in this state, of which there is exactly one at a time; the first of `names`
    after a reset. Of the moves that leave a state, the first whose condition holds is taken."""

    def __init__(self, names: Sequence[str]) -> None:
        self.first = names[0]
        self.now = {
            name: Signal(name=f"in_{name.lower()}", init=name == self.first) for name in names
        }
        self.next = {name: Signal(name=f"next_{name.lower()}") for name in names}
        self._leaving: dict[str, list[tuple[Value, str]]] = {name: [] for name in names}

    def move(self, source: str, target: str, when: ValueLike = ALWAYS) -> None:
        """From one state to another one, in a cycle in which `when` holds."""
        self._leaving[source].append((Value.cast(when), target))

    def copy(self, m: Module, name: str, label: str) -> Signal:
        """One more register of a state that has many loads."""
        copy = Signal(name=label, init=name == self.first, attrs=KEEP)
        m.d.sync += copy.eq(self.next[name])
        return copy

    def build(self, m: Module) -> None:
        """Adds the registers; no `move` may follow."""
        arrivals: dict[str, list[Value]] = {name: [] for name in self.now}
        for source, moves in self._leaving.items():
            here = self.now[source]
            left: list[Value] = []
            for when, target in moves:
                arrivals[target].append(here & ~_any(left) & when if left else here & when)
                left.append(when)
            if not any(isinstance(when, Const) and when.value for when in left):
                arrivals[source].append(here & ~_any(left))
        for name, ways in arrivals.items():
            m.d.comb += self.next[name].eq(_any(ways))
            m.d.sync += self.now[name].eq(self.next[name])


def _any(values: list[Value]) -> Value:
    return reduce(or_, values) if values else Const(0, 1)
