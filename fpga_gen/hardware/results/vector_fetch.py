"""Addresses of the vector unit's reads, and what their words are for.

Five stages from the issue of a read to its address: table words, entries, + y, + x, + byte plane.
"""

from __future__ import annotations

from itertools import product

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import MAX_TABLE, width
from fpga_gen.contract.latencies import READ_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, delay
from fpga_gen.hardware.common.fan_out import copies
from fpga_gen.hardware.common.joints import TableWrite
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.common.records import COLUMN_ENTRY, ROW_ENTRY
from fpga_gen.hardware.results.vector_term import FACTS, READ, term_layout

TABLE_SHAPE = RamShape(WORD_BITS, MAX_TABLE // 2, "block")
ADDRESS_STAGES = 5  # from the issue of a read to its address
WORD_LATENCY = ADDRESS_STAGES + READ_LATENCY  # from the issue of a read to its word


class VectorFetch(wiring.Component):
    """See module docstring.

    Members:
        tables: the axis tables, written while the unit is not busy. facts: In, of the instruction.
        issued: In, a read. read_valid, read_address: Out, to the feature-map memory.
        term: Out, with the word.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "tables": In(TableWrite()),
                "facts": In(FACTS),
                "issued": In(READ),
                "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "term": Out(term_layout(params)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self._tables(m)
        self._address(m)
        self._term(m)
        return m

    def _tables(self, m: Module) -> None:
        y_index, x_index = self.issued.y_index, self.issued.x_index
        words = []
        for name, index, write in (
            ("y", y_index[1:], self.tables.y_write),
            ("x", x_index, self.tables.x_write),
        ):
            ram = place_ram(m, f"{name}_table", TABLE_SHAPE, expand=self.expand)
            m.d.comb += [
                ram.w_addr.eq(self.tables.pair),
                ram.w_data.eq(self.tables.word),
                ram.w_en.eq(write),
                ram.r_addr.eq(index),
            ]
            words.append(ram.r_data)
        odd = Signal(name="y_odd")
        m.d.sync += odd.eq(y_index[0])
        self.y_entry = ROW_ENTRY(words[0].word_select(odd, ROW_ENTRY.size))
        self.x_entry = COLUMN_ENTRY(words[1])

    def _address(self, m: Module) -> None:
        """Address of the read that was issued ADDRESS_STAGES cycles ago."""
        p, issued, direct = self.params, self.issued, self.facts.direct_address
        base = delay(m, issued.base, 2, "base")
        pixel_1: Value = delay(m, issued.pixel, 1, "pixel_1")
        if p.activations:
            pixel_1 = Mux(delay(m, issued.still, 1, "pixel_still"), 0, pixel_1)
        pixel_2 = delay(m, pixel_1, 1, "pixel_2")
        low_4 = delay(m, Mux(issued.low, issued.low_offset, 0), 4, "low")
        y_address, x_address, sum_3, sum_4, sum_5 = (
            Signal(ADDRESS_BITS, name=n, reset_less=True)
            for n in ("y_address", "x_address", "sum_3", "sum_4", "sum_5")
        )
        m.d.sync += [
            y_address.eq(Mux(direct, 0, self.y_entry.address)),
            x_address.eq(self.x_entry.address),
            sum_3.eq(add(m, base, y_address, p.banks, "vector_y")),
            sum_5.eq(add(m, sum_4, low_4, p.banks, "vector_low")),
        ]
        x_3 = delay(m, Mux(direct, pixel_2, x_address), 1, "x_address")
        m.d.sync += sum_4.eq(add(m, sum_3, x_3, p.banks, "vector_x"))
        valid = delay(m, issued.valid, ADDRESS_STAGES, "read_valid", reset_less=False)
        m.d.comb += [self.read_address.eq(sum_5), self.read_valid.eq(valid)]

    def _term(self, m: Module) -> None:
        """What the read is for, when its word is there."""
        p, lag, issued = self.params, WORD_LATENCY, self.issued
        direct, is_product = self.facts.direct_weight, self.facts.product
        y_weight = Signal(width("weight"), reset_less=True)
        m.d.sync += y_weight.eq(self.y_entry.weight)
        factor = delay(m, issued.factor, 3, "factor").as_signed()
        x = self.x_entry
        of_pixel = ((x.left, x.right), (x.second_left, x.second_right))
        for pixel, tap in product(range(p.vector_pixels), range(p.vector_taps)):
            index = pixel * p.vector_taps + tap
            x_weight = delay(m, of_pixel[pixel][tap], 1, f"x_weight_{index}")
            table = delay(m, y_weight * x_weight, 1, f"weight_{index}")
            weight = Mux(direct, 0 if tap else factor, table)
            m.d.comb += self.term.weights[index].eq(delay(m, weight, lag - 3, f"weights_{index}"))
        still = delay(m, issued.still, 1, "still_1") if p.activations else Const(0, 1)
        skip = Mux(direct, ~still, x.skip)
        first = Mux(is_product, ~issued.first_source & ~issued.low, issued.first)
        # A cycle early: their last register is one per few channels.
        plus = Mux(issued.wide, issued.low, issued.zero)
        late: dict[str, tuple[ValueLike, int]] = {
            "valid": (issued.valid, lag),
            "skip": (skip, lag - 2),
            "operand": (is_product & issued.first_source, lag),
            "operand_first": (~issued.low, lag),
            "second": (is_product & ~issued.first_source, lag),
            "first": (first, lag),
            "last": (issued.valid & issued.last, lag),
            "both": (issued.both, lag),
            "address": (copies(m, issued.out, 1, "out")[0], lag - 1),  # a sum: no shift register
            "high_plane": (issued.wide & ~issued.low, lag - 1),
            "plus": (plus, lag - 1),
        }
        m.d.comb += [
            self.term[name].eq(delay(m, value, cycles, name, reset_less=name != "valid"))
            for name, (value, cycles) in late.items()
        ]
