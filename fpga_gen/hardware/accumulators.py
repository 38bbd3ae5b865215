"""Partial sums of one lane: T words of accumulators in distributed RAM, and their drain copy."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.mac_dsp import DOT_BITS
from fpga_gen.hardware.mac_leaf import Leaf, emit_leaves, fields
from fpga_gen.hardware.params import EngineParams
from fpga_gen.quant.numerics import ACC_BITS


def module_name(columns: int) -> str:
    return f"accumulators_{columns}"


class Accumulators(Leaf):
    """psum[t] = (first ? 0 : shift8 ? psum[t] << 8 : psum[t]) + dot, for `columns` sums at once.

    One beat per cycle; a `t` may come back after `recurrence` cycles. A beat with `last` also
    writes the sums to the drain RAM, which is read independently, one word per cycle.

    Members:
        valid, t, first, shift8, last: the beat, `control_lead` cycles before its dot products.
        dots: In(20 * columns), signed dot products.
        drain_en, drain_t: read request.
        drain: Out(32 * columns), `read_latency` cycles after the request; holds without one.
    """

    control_lead = 1
    recurrence = 3
    write_latency = 1  # cycles after the dot products from which a request sees the sums
    read_latency = 2

    def __init__(self, columns: int, depth: int) -> None:
        self.columns = columns
        self.depth = depth
        t_bits = (depth - 1).bit_length()
        super().__init__(
            {
                "valid": In(1),
                "t": In(t_bits),
                "first": In(1),
                "shift8": In(1),
                "last": In(1),
                "dots": In(DOT_BITS * columns),
                "drain_en": In(1),
                "drain_t": In(t_bits),
                "drain": Out(ACC_BITS * columns),
            }
        )

    def _ram(self, m: Module, label: str):
        """(write port, asynchronous read port) of a T-deep RAM."""
        shape = ACC_BITS * self.columns
        m.submodules[label] = ram = memory.Memory(shape=shape, depth=self.depth, init=[])
        return ram.write_port(), ram.read_port(domain="comb")

    def elaborate(self, platform) -> Module:
        m = Module()
        write, read = self._ram(m, "partial")
        drain_write, drain_read = self._ram(m, "drained")

        old = Signal(ACC_BITS * self.columns, reset_less=True)
        new = Signal(ACC_BITS * self.columns, reset_less=True)
        first = Signal(reset_less=True, attrs={"max_fanout": 64})
        shift8 = Signal(reset_less=True, attrs={"max_fanout": 64})
        late = [Signal(2, name=f"late{n}", reset_less=True) for n in (1, 2)]  # valid, last
        late_t = [Signal.like(self.t, name=f"late_t{n}", reset_less=True) for n in (1, 2)]
        m.d.comb += read.addr.eq(self.t)
        m.d.sync += [
            old.eq(read.data),
            first.eq(self.first),
            shift8.eq(self.shift8),
            late[0].eq(Cat(self.valid, self.valid & self.last)),
            late_t[0].eq(self.t),
            late[1].eq(late[0]),
            late_t[1].eq(late_t[0]),
        ]
        sums = []
        for dot, psum in zip(fields(self.dots, DOT_BITS), fields(old, ACC_BITS), strict=True):
            kept = Mux(first, 0, Mux(shift8, psum << 8, psum))[:ACC_BITS]
            sums.append((dot.as_signed() + kept)[:ACC_BITS])
        m.d.sync += new.eq(Cat(sums))
        m.d.comb += [
            write.addr.eq(late_t[1]),
            write.data.eq(new),
            write.en.eq(late[1][0]),
            drain_write.addr.eq(late_t[1]),
            drain_write.data.eq(new),
            drain_write.en.eq(late[1][1]),
        ]

        drain_en = Signal(reset_less=True, attrs={"max_fanout": 64})
        drain_t = Signal.like(self.drain_t, reset_less=True)
        drain = Signal(ACC_BITS * self.columns, reset_less=True)
        m.d.sync += [drain_en.eq(self.drain_en), drain_t.eq(self.drain_t)]
        m.d.comb += [drain_read.addr.eq(drain_t), self.drain.eq(drain)]
        with m.If(drain_en):
            m.d.sync += drain.eq(drain_read.data)
        return m


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """One leaf per kind of column, by module name."""
    return {
        module_name(columns): Accumulators(columns, params.tile_groups)
        for columns in (params.dsp_columns, params.sp2_columns)
        if columns
    }


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog} of the leaves."""
    return emit_leaves(leaves(params))
