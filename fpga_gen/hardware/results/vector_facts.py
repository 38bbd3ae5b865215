"""What the vector unit's walk goes by: an instruction's facts, as registers, and its sources."""

from __future__ import annotations

from collections.abc import Iterable

from amaranth.hdl import Array, Module, Signal, Value, ValueLike
from amaranth.lib import data, wiring

from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import MAX_SOURCES, VectorOp
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.common.records import SOURCE_RECORD

SOURCE_BITS = (MAX_SOURCES - 1).bit_length()


class VectorFacts:
    """Registers of VectorWalk, one cycle after `start`: the header stays while the unit is busy.

    header: fields of the instruction. tables: its sources, written while the unit is not busy.
    facts: what the rest of the vector unit is told. *_top: index of the last tap, of a row: of its
    last read; near, far: of those before it. one_column, one_row: there is one; single_*: of the
    map.
    """

    def __init__(
        self, m: Module, header: data.View, tables: wiring.PureInterface, facts: data.View
    ) -> None:
        self._sources(m, tables)
        self._take_facts(m, header, facts)

    def _sources(self, m: Module, write: wiring.PureInterface) -> None:
        self.sources = [
            Signal(SOURCE_RECORD, name=f"source_{i}", reset_less=True) for i in range(MAX_SOURCES)
        ]
        for index, source in enumerate(self.sources):
            with m.If(write.source_write & (write.source == index)):
                m.d.sync += source.as_value().word_select(write.part, WORD_BITS).eq(write.word)

    def _take_facts(self, m: Module, cfg: data.View, facts: data.View) -> None:
        def fact(name: str, value: Value, **attributes) -> Signal:
            register = Signal(len(value), name=name, reset_less=True, **attributes)
            m.d.sync += register.eq(value)
            return register

        axes = (("x", cfg.x_reads), ("y", cfg.y_taps))
        self.x_top, self.y_top = (
            fact(f"{axis}_top", (taps - 1)[: len(taps)]) for axis, taps in axes
        )
        self.x_near, self.y_near = (  # the tap before the last
            fact(f"{axis}_near", (taps - 2)[: len(taps)]) for axis, taps in axes
        )
        self.x_far, self.y_far = (  # the tap before that one
            fact(f"{axis}_far", (taps - 3)[: len(taps)]) for axis, taps in axes
        )
        self.source_top = fact("source_top", (cfg.n_sources - 1)[:SOURCE_BITS])
        self.direct = fact("direct", cfg.direct, attrs=KEEP)
        self.one_column = fact("one_column", cfg.direct | (cfg.x_reads == 1))
        self.one_row = fact("one_row", cfg.direct | (cfg.y_taps == 1))
        self.single_read = fact(  # the one source takes one read, if it is no wide one
            "single_read",
            (cfg.direct | ((cfg.x_reads == 1) & (cfg.y_taps == 1))) & (cfg.n_sources == 1),
        )
        self.pair = fact("pair", cfg.pair)
        self.columns, self.rows = fact("columns", cfg.out_w), fact("rows", cfg.out_h)
        self.single_column = fact("single_column", (cfg.out_w == 1) | (cfg.pair & (cfg.out_w == 2)))
        self.first_both = fact("first_both", cfg.pair & (cfg.out_w != 1))
        self.single_row = fact("single_row", cfg.out_h == 1)
        self.out_plane = fact("out_plane", cfg.out_plane)
        m.d.comb += [
            *(
                copy.eq(fact(f"direct_{n}", cfg.direct, attrs=KEEP))
                for n, copy in (
                    ("address", facts.direct_address),
                    ("weight", facts.direct_weight),
                )
            ),
            facts.product.eq(fact("product", cfg.function == VectorOp.MUL)),
            facts.out16.eq(fact("out16", cfg.out16)),
            facts.out_low.eq(fact("out_low", cfg.out_low)),
        ]

    def of(self, values: Iterable[Value], index: ValueLike) -> Value:
        """The value of a source; index: below MAX_SOURCES, or one behind the last."""
        return Array(values)[Value.cast(index)[:SOURCE_BITS]]

    def wide(self, index: ValueLike) -> Value:
        """Whether a source has two planes."""
        return self.of((s.wide for s in self.sources), index)

    def is_last(self, index: ValueLike) -> Value:
        return Value.cast(index)[:SOURCE_BITS] == self.source_top

    def only_read(self, index: ValueLike) -> Value:
        """Whether a source is the last one and takes one read."""
        return self.one_column & self.one_row & self.is_last(index) & ~self.wide(index)
