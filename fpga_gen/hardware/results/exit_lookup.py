"""Tables of the exit path: the results of an instruction that has one index it on their way out.

Every lane has a RAM of all tables, so that a table is filled while results of others pass. Stages:
1, 2 the word that holds the entry; 3 the entry, or the value itself where there is no table.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import MAX_LOOKUP, width
from fpga_gen.contract.latencies import LOOKUP_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import delay
from fpga_gen.hardware.common.fan_out import copies_for, tree
from fpga_gen.hardware.common.joints import LOOKUP_BITS, LOOKUP_WORDS, LookupWrite
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.results.requantise import VALUE_BITS

TABLE_SHAPE = RamShape(
    LOOKUP_BITS, (MAX_LOOKUP + 1) * LOOKUP_WORDS, "block", registered=True, unchecked=True
)
WRITE_LANES = 16  # lanes that share a copy of what is written


class ExitLookup(wiring.Component):
    """See module docstring.

    Members:
        write: words of tables; none of a table that results in here index, until they are through.
        lookup: In, table of the instruction whose results pass, 0: none.
        values: In. results: Out, LOOKUP_LATENCY cycles later.
    """

    latency = TABLE_SHAPE.read_latency + 1

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        assert self.latency == LOOKUP_LATENCY
        self.params = params
        self.expand = expand
        values = ArrayLayout(signed(VALUE_BITS), params.requant_lanes)
        super().__init__(
            {
                "write": In(LookupWrite()),
                "lookup": In(width("lookup")),
                "values": In(values),
                "results": Out(values),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes = self.params.requant_lanes
        write = self.write
        word = Cat(write.data, write.word, write.lookup)
        parts = -(-lanes // WRITE_LANES)
        words = tree(m, word, [parts], "table_word")
        valids = tree(m, write.valid, [parts], "table_write", reset_less=False)
        numbers = tree(m, self.lookup, [copies_for(lanes * width("lookup"))], "table_number")
        uses = tree(m, self.lookup != 0, [copies_for(lanes * VALUE_BITS)], "table_use")
        for lane in range(lanes):
            value = self.values[lane]
            ram = place_ram(m, f"table_{lane}", TABLE_SHAPE, expand=self.expand)
            part, number = words[lane * parts // lanes], numbers[lane * len(numbers) // lanes]
            at = (LOOKUP_BITS // 8 - 1).bit_length()  # of the entry in its word
            m.d.comb += [
                ram.w_en.eq(valids[lane * parts // lanes]),
                ram.w_addr.eq(part[LOOKUP_BITS:]),
                ram.w_data.eq(part[:LOOKUP_BITS]),
                ram.r_addr.eq(Cat(value[at:8], number)),
            ]
            entry = Signal(signed(8), name=f"entry_{lane}")
            chosen = delay(m, value[:at], TABLE_SHAPE.read_latency, f"entry_at_{lane}")
            m.d.comb += entry.eq(ram.r_data.word_select(chosen, 8).as_signed())
            late = delay(m, value, TABLE_SHAPE.read_latency, f"passing_{lane}")
            result = Signal(signed(VALUE_BITS), name=f"result_{lane}", reset_less=True)
            m.d.sync += result.eq(Mux(uses[lane * len(uses) // lanes], entry, late.as_signed()))
            m.d.comb += self.results[lane].eq(result)
        return m
