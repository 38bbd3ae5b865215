"""Partial sums of one lane: T words of accumulators in distributed RAM, and their drain copy."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array.mac_dsp import DOT_BITS
from fpga_gen.hardware.common.fan_out import copies
from fpga_gen.hardware.common.leaf import Leaf, emit_leaves, fields

RAM_COLUMNS = 3  # 96 bits fill seven RAM32M16, whose address pins are 56 loads


def module_name(columns: int) -> str:
    return f"{modules.ACCUMULATORS}_{columns}"


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

    control_lead = 2
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

    def elaborate(self, platform) -> Module:
        m = Module()
        late = [Signal(2, name=f"late{n}", reset_less=True) for n in (1, 2)]  # valid, last
        late_t = [Signal.like(self.t, name=f"late_t{n}", reset_less=True) for n in (1, 2)]
        m.d.sync += [
            late[0].eq(Cat(self.valid, self.valid & self.last)),
            late_t[0].eq(self.t),
            late[1].eq(late[0]),
            late_t[1].eq(late_t[0]),
        ]
        dots, out = fields(self.dots, DOT_BITS), []
        for start in range(0, self.columns, RAM_COLUMNS):
            out += self._group(m, start // RAM_COLUMNS, dots[start : start + RAM_COLUMNS], late,
                               late_t)  # fmt: skip
        m.d.comb += self.drain.eq(Cat(out))
        return m

    def _group(self, m: Module, number: int, dots: list, late: list, late_t: list) -> list:
        """A few columns with their own copies of the controls; returns their drain registers."""
        count = len(dots)

        def ram(label: str):
            """(write port, asynchronous read port) of a T-deep RAM."""
            m.submodules[f"{label}_{number}"] = memory_ = memory.Memory(
                shape=ACC_BITS * count, depth=self.depth, init=[]
            )
            return memory_.write_port(), memory_.read_port(domain="comb")

        def late_copy(value: Value, name: str) -> Signal:
            return copies(m, value, 1, f"{name}_{number}")[0]

        write, read = ram("partial")
        drain_write, drain_read = ram("drained")
        t, write_t = late_copy(self.t, "t"), late_copy(late_t[1], "write_t")
        enables = late_copy(late[1], "write_en")
        first = copies(m, late_copy(self.first, "first"), count, f"first_{number}")
        shift8 = copies(m, late_copy(self.shift8, "shift8"), count, f"shift8_{number}")
        m.d.comb += read.addr.eq(t)
        old = Signal(ACC_BITS * count, name=f"old_{number}", reset_less=True)
        new = Signal(ACC_BITS * count, name=f"new_{number}", reset_less=True)
        m.d.sync += old.eq(read.data)
        sums = []
        for column, psum in enumerate(fields(old, ACC_BITS)):
            kept = Mux(first[column], 0, Mux(shift8[column], psum << 8, psum))[:ACC_BITS]
            sums.append((dots[column].as_signed() + kept)[:ACC_BITS])
        m.d.sync += new.eq(Cat(sums))
        m.d.comb += [
            write.addr.eq(write_t),
            write.data.eq(new),
            write.en.eq(enables[0]),
            drain_write.addr.eq(write_t),
            drain_write.data.eq(new),
            drain_write.en.eq(enables[1]),
            drain_read.addr.eq(late_copy(self.drain_t, "drain_t")),
        ]
        out = []
        words = fields(drain_read.data, ACC_BITS)
        for column, en in enumerate(copies(m, self.drain_en, count, f"drain_en_{number}")):
            drain = Signal(ACC_BITS, name=f"drain_{number}_{column}", reset_less=True)
            with m.If(en):
                m.d.sync += drain.eq(words[column])
            out.append(drain)
        return out


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """One leaf per kind of column, by module name."""
    return {
        module_name(columns): Accumulators(columns, params.tile_groups)
        for columns in (kind.count(params) for kind in params.kinds)
    }


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog} of the leaves."""
    return emit_leaves(leaves(params))
