"""Last stages of the exit path: bytes of several pixels to aligned memory words.

Stage 1: one byte per channel. 2: shift every pixel's channels to the byte offset of the map.
3: words to the write slots of the memory; LOAD words take the slots directly.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, bank_of, delay
from fpga_gen.hardware.common.fan_out import KEEP, copies, copies_for, tree
from fpga_gen.hardware.common.joints import WriteStep
from fpga_gen.hardware.common.leaf import fields
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.results.exit_address import slot_source
from fpga_gen.hardware.results.exit_align import CHUNK, ExitAlign, window_name
from fpga_gen.hardware.results.exit_records import facts_layout, result_layout
from fpga_gen.hardware.results.requantise import VALUE_BITS

EARLY = {"high": 1, "offset": 1, "channels": 2}  # cycles that parts of a result come ahead


class ExitPack(wiring.Component):
    """See module docstring.

    Members:
        values, maxima: In, with result.valid, address and enable; result.high and offset come a
            cycle before them, channels two cycles (EARLY). facts: In, of the instruction.
        load_valid, load_pixel, load_data: In, a LOAD word for facts.bases + load_pixel.
        write: Out, to FeatureMemory.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "values": In(ArrayLayout(signed(VALUE_BITS), params.requant_lanes)),
                "maxima": In(params.pool_pixels * params.word_bits),
                "result": In(result_layout(params)),
                "facts": In(facts_layout(params)),
                "load_valid": In(1),
                "load_pixel": In(ADDRESS_BITS),
                "load_data": In(params.stream_bits),
                "write": Out(WriteStep(params)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        bytes_ = self._bytes(m)
        m.submodules.align = align = ExitAlign(self.params, len(bytes_) // 8)
        m.d.comb += [
            align.bytes.eq(bytes_),
            align.offset.eq(self.result.offset),
            align.channels.eq(self.result.channels),
            align.mode.eq(self.facts.mode),
        ]
        windows = [
            [getattr(align, window_name(row, group)) for group in range(self.params.max_mode)]
            for row in range(self.params.exit_pixels)
        ]
        self._write(m, windows, align.mask, align.some)
        return m

    def _bytes(self, m: Module) -> Signal:
        """One byte per channel. Low bytes are stored minus 128."""
        p = self.params
        pooled = p.pool_pixels // p.exit_pixels * p.in_channels  # in a row of lanes
        row = max(p.row_lanes, pooled)
        count = p.exit_pixels * row
        parts = copies_for(8 * count)
        highs = tree(m, self.result.high, [parts], "byte_high")
        pools = tree(m, self.facts.pool, [parts], "byte_pool")
        out16 = self.facts.out16
        wides = copies(m, out16, p.exit_pixels, "byte_wide") if p.exit_pixels > 1 else [out16]
        bytes_ = Signal(count * 8, reset_less=True)
        for column in range(count):
            byte = Const(0, 8)
            copy = column * parts // count
            which, place = divmod(column, row)
            if place < p.row_lanes:
                value = self.values[which * p.row_lanes + place]
                low = value[:8] ^ Cat(Const(0, 7), wides[which])
                byte = Mux(highs[copy], value[8:], low)
            if place < pooled:
                maximum = self.maxima.word_select(which * pooled + place, 8)
                byte = Mux(pools[copy], maximum, byte)
            m.d.sync += bytes_.word_select(column, 8).eq(byte)
        return bytes_

    def _write(self, m: Module, windows: list[list[Signal]], mask: Value, some: Signal) -> None:
        p, n = self.params, self.params.write_slots
        result = self.result
        valid = delay(m, result.valid, 2, "late_valid", reset_less=False)
        address = delay(m, result.address.as_value(), 2, "late_address")
        enable = delay(m, result.enable, 2, "late_enable")
        each = -(-p.word_bits // CHUNK) + 1  # chunks of a slot's data; bytes and address
        modes = tree(m, self.facts.mode, [copies_for(each * n, 8), each * n], "slot_mode")
        loads = tree(m, self.load_valid, [each * p.load_words], "slot_load", reset_less=False)
        load_data = delay(m, self.load_data, 1, "load_data")
        # Kept, or tools make them the end of a shift register, whose output comes late.
        to = data_register(m, self.write.address, attrs=KEEP)
        written, used_bytes = (
            data_register(m, port) for port in (self.write.data, self.write.bytes)
        )
        load_words = {p.load_slot(word): word for word in range(p.load_words)}
        for slot in range(n):
            copy = slice(each * slot, each * (slot + 1))
            row = windows[slot // p.row_slots]
            data, enables, any_ = self._chosen(m, slot, modes[copy], row, mask, some)
            used = Signal(name=f"slot_valid_{slot}")
            slot_to: Value = Signal(ADDRESS_BITS, name=f"slot_to_{slot}")
            m.d.comb += [
                used.eq(valid & enable[slot] & any_),
                slot_to.eq(address.word_select(slot, ADDRESS_BITS)),
            ]
            load: Value = Const(0, 1)
            if slot in load_words:
                number = load_words[slot]
                *data_loads, load = loads[each * number : each * (number + 1)]
                base = self.facts.bases[number]
                loaded = add(m, base, self.load_pixel, p.banks, f"load_{number}")
                slot_to = Mux(load, delay(m, loaded, 1, f"load_to_{number}"), slot_to)
                word = fields(load_data.word_select(number, p.word_bits), CHUNK)
                data = Cat(map(Mux, data_loads, word, fields(data, CHUNK)))
            if slot == 0 and p.exit_pixels == 2:
                odds = copies(m, bank_of(slot_to, p.banks)[0], len(self.write.odd), "odd")
                m.d.comb += self.write.odd.eq(Cat(odds))
            m.d.sync += [
                self.write.valid[slot].eq(used | load),
                to[slot].eq(slot_to),
                written[slot].eq(data),
                used_bytes[slot].eq(enables | load.replicate(p.in_channels)),
            ]

    def _chosen(
        self,
        m: Module,
        slot: int,
        modes: list[Signal],
        windows: list[Signal],
        mask: Value,
        some: Signal,
    ) -> tuple[Signal, Signal, Signal]:
        """(data, byte enables, whether there are any) of a slot, of the window that it serves in
        the mode."""
        p, ci = self.params, self.params.in_channels
        data = Signal(p.word_bits, name=f"slot_data_{slot}")
        enables = Signal(ci, name=f"slot_bytes_{slot}")
        any_ = Signal(name=f"slot_any_{slot}")
        words = {}
        for mode in p.modes:
            source = slot_source(p, mode, slot)
            if source is not None:
                group, word = source
                bits = windows[group].word_select(word, p.word_bits)
                bytes_ = mask[word * ci : (word + 1) * ci]
                words[mode] = *fields(bits, CHUNK), bytes_, some[word]
        assert words or slot % p.row_slots < p.load_words
        targets = *fields(data, CHUNK), enables, any_
        for part, (target, copy) in enumerate(zip(targets, [*modes, modes[-1]], strict=True)):
            value: Value = Const(0, len(target))
            for mode, choices in words.items():
                chosen = choices[part]
                value = chosen if mode == min(words) else Mux(copy == mode - 1, chosen, value)
            m.d.comb += target.eq(value)
        return data, enables, any_
