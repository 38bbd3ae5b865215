"""Dispatcher: starts decoded instructions in order, each when the units that it needs are free."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import HEADER_WORDS, Op
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for


class Dispatcher(wiring.Component):
    """The decision, two cycles later the header's copy and the start pulse.

    Members:
        decoded: In, level, `following` is the header of the next instruction; both stay until
            `taken`: Out, pulse in the cycle after the start (not after END).
        dispatched: Out, pulse, the decision. layer_start: Out, the same one cycle late.
        layer: Out, instructions dispatched.
        others as in Sequencer.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "decoded": In(1),
                "following": In(64 * HEADER_WORDS),
                "dispatched": Out(1),
                "taken": Out(1),
                "walker_busy": In(1),
                "vector_busy": In(1),
                "load_busy": In(1),
                "store_busy": In(1),
                "exit_idle": In(1),
                "params_ready": In(1),
                "header": Out(64 * HEADER_WORDS),
                "walker_start": Out(1),
                "vector_start": Out(1),
                "load_start": Out(1),
                "store_start": Out(1),
                "done": Out(1),
                "layer": Out(16),
                "layer_start": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        walk = header_fields(self.following, Op.CONV)
        units_idle = Signal()
        after_store = Signal()  # the instruction waits for the store unit
        alone = Signal()  # the instruction needs all earlier results in memory
        may_start = Signal()
        m.d.comb += [
            units_idle.eq(
                ~(self.walker_busy | self.vector_busy | self.load_busy)
                & ~(self.store_busy & after_store)
            ),
            after_store.eq((walk.op == Op.STORE) | (walk.op == Op.END)),
            alone.eq(
                walk.wait | ~((walk.op == Op.CONV) | (walk.op == Op.POOL) | (walk.op == Op.STORE))
            ),
            may_start.eq(
                units_idle
                & (self.exit_idle | ~alone)
                & ((walk.op != Op.VECTOR) | self.params_ready)
            ),
        ]
        self._take_header(m)
        starts = (
            (self.walker_start, (Op.CONV, Op.POOL)),
            (self.vector_start, (Op.VECTOR,)),
            (self.load_start, (Op.LOAD,)),
            (self.store_start, (Op.STORE,)),
            (self.done, (Op.END,)),
        )
        m.d.sync += [pulse.eq(0) for pulse, _ in starts]
        with m.If(self.dispatched):
            m.d.sync += self.layer.eq(self.layer + 1)
        with m.FSM(name="dispatcher"):
            with m.State("DECIDE"):
                with m.If(self.decoded & may_start):
                    m.d.comb += self.dispatched.eq(1)
                    m.next = "TAKE"
            with m.State("TAKE"):  # the header is copied
                m.next = "START"
                for pulse, ops in starts:
                    with m.If(Cat(walk.op == op for op in ops).any()):
                        m.d.sync += pulse.eq(1)
            with m.State("START"):
                with m.If(self.done):
                    m.next = "STOPPED"
                with m.Else():
                    m.d.comb += self.taken.eq(1)
                    m.next = "DECIDE"
            with m.State("STOPPED"):  # until the shell resets the engine
                pass
        return m

    def _take_header(self, m: Module) -> None:
        header = Signal(len(self.header), reset_less=True)
        parts = copies_for(len(header))
        *enables, layer_start = copies(m, self.dispatched, parts + 1, "take", reset_less=False)
        for n, enable in enumerate(enables):
            with m.If(enable):
                part = slice(n * LOADS, (n + 1) * LOADS)
                m.d.sync += header[part].eq(self.following[part])
        m.d.comb += [self.header.eq(header), self.layer_start.eq(layer_start)]
