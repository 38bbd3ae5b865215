"""Max-pooling unit: a running maximum of signed bytes for every pixel lane and channel."""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.latencies import DRAIN_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for
from fpga_gen.hardware.common.joints import Done, Drain, PoolBeat
from fpga_gen.hardware.common.leaf import Leaf, emit_leaf, fields
from fpga_gen.hardware.common.resets import data_register

MODULE = modules.MAX_POOL


class MaxPoolUnit(Leaf):
    """max[t] = first ? act : max(max[t], act), for P lanes of CI signed bytes.

    One beat per cycle, its t a cycle ahead of it; the same t may come back after two cycles. A
    beat with `last` also writes the drain RAM. drain: row t from a lane on (a multiple of
    `pool_pixels` lanes), `drain_latency` cycles later (the array's, so that the exit path treats
    both alike). done: a `last` beat is readable.
    """

    latency = 3
    overwrite_latency = 0
    drain_latency = DRAIN_LATENCY

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "beat": In(PoolBeat(params)),
                "done": Out(Done(params)),
                "drain": In(Drain.maxima(params)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        width = p.pixels * p.word_bits
        act = Signal(width, reset_less=True)
        valid, ended = (
            Signal(reset_less=True),
            Signal(reset_less=True),
        )  # a beat, the last one of its t
        t = [Signal(len(self.beat.t), name=f"t_{n}", reset_less=True) for n in range(3)]
        m.d.sync += [
            act.eq(self.beat.act),
            valid.eq(self.beat.valid),
            ended.eq(valid & self._late(m, self.beat.last, "last")),
            t[0].eq(self.beat.t),
            *(after.eq(before) for before, after in pairwise(t)),
            data_register(m, self.done.valid).eq(ended),
            data_register(m, self.done.t).eq(t[2]),
        ]
        rows = [
            self._part(m, n, act[at : at + LOADS]) for n, at in enumerate(range(0, width, LOADS))
        ]
        row = Cat(rows)
        # The lanes of a row that leave together.
        bits = p.pool_pixels * p.word_bits
        lane = self._late(m, self.drain.lane >> (p.pool_pixels - 1), "lane")
        value = Signal(bits, name="drain_0", reset_less=True)
        for n, copy in enumerate(copies(m, lane, copies_for(bits), "lane")):
            part = slice(n * LOADS, min((n + 1) * LOADS, bits))
            lanes = [row[at : at + bits][part] for at in range(0, width, bits)]
            m.d.sync += value[part].eq(Array(lanes)[copy])
        for index in range(1, self.drain_latency - 2):
            stage = Signal(bits, name=f"drain_{index}", reset_less=True)
            m.d.sync += stage.eq(value)
            value = stage
        m.d.comb += self.drain.data.eq(value)
        return m

    @staticmethod
    def _late(m: Module, value: Value, name: str) -> Signal:
        late = Signal(len(value), name=f"{name}_1", reset_less=True)
        m.d.sync += late.eq(value)
        return late

    def _part(self, m: Module, n: int, act: Value) -> Signal:
        """Up to LOADS bits of a row with registers of their own for the controls; returns the
        drained row, two cycles after its request."""

        def copy(value: Value, name: str) -> Signal:
            return copies(m, value, 1, f"{name}_{n}")[0]

        m.submodules[f"running_{n}"] = running = Memory(
            shape=len(act), depth=self.params.tile_groups, init=[]
        )
        m.submodules[f"finished_{n}"] = finished = Memory(
            shape=len(act), depth=self.params.tile_groups, init=[]
        )
        old_port, new_port = running.read_port(domain="comb"), running.write_port()
        done_port, out_port = finished.write_port(), finished.read_port(domain="comb")
        # Stage 1: the row that the beat continues.
        t = copy(self.beat.t, "t")
        old = Signal(len(act), name=f"old_{n}", reset_less=True)
        m.d.comb += old_port.addr.eq(t)
        m.d.sync += old.eq(old_port.data)
        first = copy(self.beat.first, "first")
        # Stage 2: the maximum goes back, and on to the drain RAM with the last tap.
        t_1 = copy(t, "t_1")
        best = []
        for index, (new, kept) in enumerate(zip(fields(act, 8), fields(old, 8), strict=True)):
            byte = Signal(8, name=f"best_{n}_{index}")
            m.d.comb += byte.eq(Mux(first | (new.as_signed() > kept.as_signed()), new, kept))
            best.append(byte)
        for port, enable in (
            (new_port, copy(self.beat.valid, "valid")),
            (done_port, copy(self.beat.valid & self.beat.last, "ended")),
        ):
            m.d.comb += [port.addr.eq(t_1), port.data.eq(Cat(*best)), port.en.eq(enable)]
        row = Signal(len(act), name=f"row_{n}", reset_less=True)
        m.d.comb += out_port.addr.eq(copy(self.drain.t, "drain_t"))
        m.d.sync += row.eq(out_port.data)
        return row


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog}."""
    return {MODULE: emit_leaf(MaxPoolUnit(params), MODULE)}
