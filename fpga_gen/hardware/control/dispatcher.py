"""Dispatcher: starts decoded instructions in order, each when the units that it needs are free."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import INSTRUCTIONS, Op
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for
from fpga_gen.hardware.common.joints import Issue, Units
from fpga_gen.hardware.common.records import HEADER
from fpga_gen_host.registers import LAYER_BITS

# Instructions that start beside the results of earlier ones.
BESIDE = [op for op, kind in INSTRUCTIONS.items() if not (kind.ALONE or kind.DECODED)]


class Dispatcher(wiring.Component):
    """The decision, two cycles later the header's copy and the start pulse.

    Members:
        decoded: the next instruction, whose header stands from a cycle before it is valid; taken
            in the cycle after the start (not after END).
        units: what is free.
        walk, vector, load, store: starts, see Issue. done: Out, pulse, the start of END.
        dispatched: Out, pulse, the decision. layer_start: Out, the same one cycle late.
        layer: Out, instructions dispatched.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "decoded": In(stream.Signature(HEADER)),
                "units": In(Units()),
                "walk": Out(Issue()),
                "vector": Out(Issue()),
                "load": Out(Issue()),
                "store": Out(Issue()),
                "done": Out(1),
                "dispatched": Out(1),
                "layer": Out(LAYER_BITS),
                "layer_start": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        may_start = self._may_start(m)
        self._take_header(m)
        op = self.decoded.payload.walk.op
        starts = (
            (self.walk.start, (Op.CONV, Op.POOL)),
            (self.vector.start, (Op.VECTOR,)),
            (self.load.start, (Op.LOAD,)),
            (self.store.start, (Op.STORE,)),
            (self.done, (Op.END,)),
        )
        m.d.sync += [pulse.eq(0) for pulse, _ in starts]
        with m.If(self.dispatched):
            m.d.sync += self.layer.eq(self.layer + 1)
        with m.FSM(name="dispatcher"):
            with m.State("DECIDE"):
                with m.If(self.decoded.valid & may_start):
                    m.d.comb += self.dispatched.eq(1)
                    m.next = "TAKE"
            with m.State("TAKE"):  # the header is copied
                m.next = "START"
                for pulse, ops in starts:
                    with m.If(Cat(op == kind for kind in ops).any()):
                        m.d.sync += pulse.eq(1)
            with m.State("START"):
                with m.If(self.done):
                    m.next = "STOPPED"
                with m.Else():
                    m.d.comb += self.decoded.ready.eq(1)
                    m.next = "DECIDE"
            with m.State("STOPPED"):  # until the shell resets the engine
                pass
        return m

    def _may_start(self, m: Module) -> Signal:
        """Whether the next instruction finds its units free; see isa.Instruction for the rules."""
        walk, units = self.decoded.payload.walk, self.units  # the header stands before `valid`

        def of(kinds: Iterable[Op]) -> Value:
            return Cat(walk.op == op for op in kinds).any()

        units_idle = Signal()
        # Of the instruction: it waits for the store unit; it needs all earlier results in memory;
        # it needs parameters.
        after_store, alone, has_params = (
            Signal(name=n, reset_less=True) for n in ("after_store", "alone", "has_params")
        )
        may_start = Signal()
        m.d.sync += [
            after_store.eq(of(op for op, kind in INSTRUCTIONS.items() if kind.AFTER_STORE)),
            alone.eq(walk.wait | ~of(BESIDE)),
            has_params.eq(walk.op == Op.VECTOR),
        ]
        m.d.comb += [
            units_idle.eq(
                ~(units.walker_busy | units.vector_busy | units.load_busy)
                & ~(units.store_busy & after_store)
            ),
            may_start.eq(
                units_idle & (units.exit_idle | ~alone) & (units.params_ready | ~has_params)
            ),
        ]
        return may_start

    def _take_header(self, m: Module) -> None:
        """The header of the instruction that starts, for all units."""
        taken = Signal(HEADER, name="header", reset_less=True)
        header, following = taken.as_value(), self.decoded.payload.as_value()
        parts = copies_for(len(header))
        *enables, layer_start = copies(m, self.dispatched, parts + 1, "take", reset_less=False)
        for n, enable in enumerate(enables):
            with m.If(enable):
                part = slice(n * LOADS, (n + 1) * LOADS)
                m.d.sync += header[part].eq(following[part])
        m.d.comb += [
            self.layer_start.eq(layer_start),
            *(i.header.eq(taken) for i in (self.walk, self.vector, self.load, self.store)),
        ]
