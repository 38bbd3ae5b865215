"""Max-pooling unit: a running maximum of signed bytes for every pixel lane and channel."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, ValueLike
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.mac_array import MacArray
from fpga_gen.hardware.mac_leaf import Leaf, emit_leaf, fields, place
from fpga_gen.hardware.params import EngineParams

MODULE = "fpga_gen_maxpool"


class MaxPool(Leaf):
    """max[t] = first ? act : max(max[t], act), for P lanes of CI signed bytes.

    One beat per cycle; the same t may come back after two cycles. A beat with `last` also writes
    the drain RAM. Reads: `drain` is row drain_t from lane drain_lane on (a multiple of
    `pool_pixels` lanes), `drain_latency` cycles later (the array's, so that the exit path treats
    both alike). done: a `last` beat is readable.
    """

    latency = 3
    overwrite_latency = 1
    drain_latency = MacArray.drain_latency

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        t_bits = (params.tile_groups - 1).bit_length()
        super().__init__(
            {
                "act": In(params.pixels * params.word_bits),
                "valid": In(1),
                "t": In(t_bits),
                "first": In(1),
                "last": In(1),
                "done_valid": Out(1),
                "done_t": Out(t_bits),
                "drain_en": In(1),
                "drain_t": In(t_bits),
                "drain_lane": In(range(max(params.pixels, 2))),
                "drain": Out(params.pool_pixels * params.word_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        width = p.pixels * p.word_bits
        m.submodules.running = running = Memory(shape=width, depth=p.tile_groups, init=[])
        m.submodules.finished = finished = Memory(shape=width, depth=p.tile_groups, init=[])
        old_port, new_port = running.read_port(domain="comb"), running.write_port()
        done_port, out_port = finished.write_port(), finished.read_port(domain="comb")
        # Stage 1: the beat and the row it continues.
        act = Signal(width, reset_less=True)
        old = Signal(width, reset_less=True)
        t_1 = Signal(len(self.t), reset_less=True)
        first, last, valid = Signal(reset_less=True), Signal(reset_less=True), Signal()
        m.d.comb += old_port.addr.eq(self.t)
        m.d.sync += [
            act.eq(self.act),
            old.eq(old_port.data),
            t_1.eq(self.t),
            first.eq(self.first),
            last.eq(self.last),
            valid.eq(self.valid),
        ]
        # Stage 2: the maximum goes back, and on to the drain RAM with the last tap.
        best = []
        for index, (new, kept) in enumerate(zip(fields(act, 8), fields(old, 8), strict=True)):
            byte = Signal(8, name=f"best_{index}")
            m.d.comb += byte.eq(Mux(first | (new.as_signed() > kept.as_signed()), new, kept))
            best.append(byte)
        m.d.comb += [
            new_port.addr.eq(t_1),
            new_port.data.eq(Cat(*best)),
            new_port.en.eq(valid),
            done_port.addr.eq(t_1),
            done_port.data.eq(Cat(*best)),
            done_port.en.eq(valid & last),
        ]
        done_2, t_2 = Signal(), Signal(len(self.t), reset_less=True)
        m.d.sync += [done_2.eq(valid & last), t_2.eq(t_1)]
        m.d.sync += [self.done_valid.eq(done_2), self.done_t.eq(t_2)]
        # Drain.
        row = Signal(width, reset_less=True)
        together = p.pool_pixels
        lane = Signal(range(max(p.pixels // together, 2)), reset_less=True)
        m.d.comb += out_port.addr.eq(self.drain_t)
        with m.If(self.drain_en):
            m.d.sync += [row.eq(out_port.data), lane.eq(self.drain_lane >> (together - 1))]
        value = row.word_select(lane, together * p.word_bits)
        for index in range(self.drain_latency - 1):
            stage = Signal(len(value), name=f"drain_{index}", reset_less=True)
            m.d.sync += stage.eq(value)
            value = stage
        m.d.comb += self.drain.eq(value)
        return m


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog}."""
    return {MODULE: emit_leaf(MaxPool(params), MODULE)}


def instantiate(m: Module, pool: MaxPool, pins: dict[str, ValueLike], label: str = "pool") -> None:
    """Place the emitted unit in `m`; pins: a value for every member."""
    place(m, label, pool, MODULE, pins, expand=pool.expand)
