"""A block under proof: its Amaranth object, free inputs, and a view of what is inside."""

from __future__ import annotations

from collections.abc import Iterator

from amaranth.hdl import Array, Assert, Assume, ClockDomain, Const, Cover, Fragment, Module, Signal
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring
from amaranth.lib.wiring import In


class Bench:
    """A module `m` around one component. Every input of the component that `m` does not drive is
    free: the solver chooses it anew in every cycle. The state begins with its initial values, the
    domain has no reset.

    Properties may use what is inside the component: `signal` finds a register by its path,
    `rows` reads a memory past its ports. Neither changes what the component does.
    elaboratable: the component as it is placed, with resets for instance.
    """

    def __init__(self, dut: wiring.Component, elaboratable=None) -> None:
        self.m = Module()
        self.m.domains.sync = domain = ClockDomain("sync", reset_less=True)
        self.dut = dut
        self.fragment = Fragment.get(elaboratable or dut, None)
        self.m.submodules.dut = self.fragment
        self.ports: list[Signal] = [domain.clk]
        for _, member, value in dut.signature.flatten(dut):
            if member.flow is In:
                self.ports.append(value.as_value() if hasattr(value, "as_value") else value)
        self.checks = 0
        self.first = Signal(name="first_cycle", init=1)
        self.m.d.sync += self.first.eq(0)

    def free(self, shape, name: str) -> Signal:
        """An input of the bench."""
        signal = Signal(shape, name=name)
        self.ports.append(signal)
        return signal

    def constant(self, shape, name: str) -> Signal:
        """Any value, the same in every cycle."""
        signal = self.free(shape, name)
        self.hold(signal)
        return signal

    def hold(self, signal) -> None:
        """Assume that an input never changes."""
        self.assume(self.first | (signal == self.past(signal)))

    def past(self, value, name: str = "") -> Signal:
        """The value of a cycle ago; 0 in the first cycle."""
        late = Signal.like(value, name=f"{name or getattr(value, 'name', 'value')}_past",
                           reset_less=True, init=0)  # fmt: skip
        self.m.d.sync += late.eq(value)
        return late

    def named(self, value, name: str) -> Signal:
        """A signal of that value, so that a trace shows it."""
        signal = Signal.like(value, name=name)
        self.m.d.comb += signal.eq(value)
        return signal

    def stable(self, valid, ready, *payload, what: str) -> None:
        """AMBA AXI, A3.2.1: once VALID is up it stays, its information unchanged, until READY."""
        waits = self.past(valid & ~ready, f"{what}_waits")
        self.prove(self.first | ~waits | valid, f"{what}: VALID falls before READY")
        for number, value in enumerate(payload):
            late = self.past(value, f"{what}_{number}")
            self.prove(self.first | ~waits | (value == late), f"{what}: changes before READY")

    def prove(self, condition, message: str) -> None:
        self.checks += 1
        self.m.d.comb += Assert(condition, message, src_loc_at=1)

    def assume(self, condition, message: str = "") -> None:
        self.m.d.comb += Assume(condition, src_loc_at=1)

    def cover(self, condition, message: str) -> None:
        self.checks += 1
        self.m.d.comb += Cover(condition, message, src_loc_at=1)

    def signal(self, name: str, path: str = "") -> Signal:
        """The register or wire `name` inside the submodule `path` ("a/b") of the component."""
        found = {id(s): s for s in _driven(self._part(path)) if s.name == name}
        assert len(found) == 1, f"{len(found)} signals {name} in {path or 'the component'}"
        return next(iter(found.values()))

    def state(self, fsm: str, name: str, path: str = ""):
        """Whether the state machine `fsm` is in the state `name`."""
        signal = self.signal(f"{fsm}_state", path)
        for code in range(1 << len(signal)):
            try:
                told = signal.decoder(code)
            except KeyError:
                break
            if told.partition("/")[0] == name:
                return signal == code
        raise AssertionError(f"{fsm} has no state {name}")

    def memory(self, path: str) -> MemoryInstance:
        part = self._part(path)
        inside = [part] if isinstance(part, MemoryInstance) else [
            sub for sub, *_ in part.subfragments if isinstance(sub, MemoryInstance)
        ]  # fmt: skip
        assert len(inside) == 1, f"{len(inside)} memories in {path}"
        return inside[0]

    def rows(self, path: str) -> Array:
        """What every row of the memory in the submodule `path` holds."""
        memory = self.memory(path)
        out = []
        bits = max(1, (memory._data.depth - 1).bit_length())
        for row in range(memory._data.depth):
            value = Signal(memory._data.shape, name=f"row_{row}")
            memory.read_port(domain="comb", addr=Const(row, bits), data=value, en=Const(1),
                             transparent_for=())  # fmt: skip
            out.append(value)
        return Array(out)

    def _part(self, path: str) -> Fragment:
        part = self.fragment
        for step in filter(None, path.split("/")):
            inside = {name: sub for sub, name, *_ in part.subfragments}
            assert step in inside, f"no submodule {step}, there are {sorted(map(str, inside))}"
            part = inside[step]
        return part


def _driven(fragment: Fragment) -> Iterator[Signal]:
    for statements in fragment.statements.values():
        for statement in statements:
            yield from statement._lhs_signals()
