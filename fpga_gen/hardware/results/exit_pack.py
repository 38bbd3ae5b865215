"""Last stages of the exit path: bytes of several pixels to aligned memory words.

Stage 1: one byte per channel. 2: shift every pixel's channels to the byte offset of the map.
3: words to the write slots of the memory; LOAD words take the slots directly.
"""

from __future__ import annotations

from collections.abc import Iterator

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, delay
from fpga_gen.hardware.common.fan_out import KEEP, copies, copies_for, tree
from fpga_gen.hardware.common.joints import WriteStep
from fpga_gen.hardware.common.leaf import fields
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.results.exit_address import slot_source
from fpga_gen.hardware.results.exit_records import facts_layout, result_layout
from fpga_gen.hardware.results.requantise import VALUE_BITS

EARLY = {"high": 1, "offset": 1, "channels": 2}  # cycles that parts of a result come ahead
FINE = 3  # low bits of a number of channels that are compared by themselves
CHUNK = 32  # bits whose multiplexers share one copy of their control


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
        windows, mask = self._align(m, bytes_)
        self._write(m, windows, mask)
        return m

    def _bytes(self, m: Module) -> Signal:
        """One byte per channel. Low bytes are stored minus 128."""
        p = self.params
        pooled = p.pool_pixels * p.in_channels
        count = max(p.requant_lanes, pooled)
        parts = copies_for(8 * count)
        highs = tree(m, self.result.high, [parts], "byte_high")
        pools = tree(m, self.facts.pool, [parts], "byte_pool")
        bytes_ = Signal(count * 8, reset_less=True)
        for column in range(count):
            byte = Const(0, 8)
            copy = column * parts // count
            if column < p.requant_lanes:
                low = self.values[column][:8] ^ Cat(Const(0, 7), self.facts.out16)
                byte = Mux(highs[copy], self.values[column][8:], low)
            if column < pooled:
                byte = Mux(pools[copy], self.maxima.word_select(column, 8), byte)
            m.d.sync += bytes_.word_select(column, 8).eq(byte)
        return bytes_

    def _align(self, m: Module, bytes_: Signal) -> tuple[list[Signal], Signal]:
        """(window of every pixel group, enabled bytes of a window)."""
        p, ci = self.params, self.params.in_channels
        sizes = [max(p.write_words(k) for k in p.modes if k > g) for g in range(p.max_mode)]
        cuts = [-(-size * p.word_bits // CHUNK) for size in sizes]  # chunks of a window
        chunks = sum(cuts)
        offsets = tree(m, self.result.offset, [copies_for(chunks, 8), chunks], "offset")
        choosing = sum(cut for g, cut in enumerate(cuts) if len(self._first_bytes(g)) > 1)
        counts = [copies_for(choosing, 8), choosing]
        modes = iter(tree(m, self.facts.mode, counts, "pack_mode") if choosing else ())
        windows, used_chunks = [], 0
        for group, (size, parts) in enumerate(zip(sizes, cuts, strict=True)):
            width = size * p.word_bits
            mine = slice(used_chunks, used_chunks + parts)
            used_chunks += parts
            source = self._pixel_bytes(m, group, bytes_, width, modes)
            window = Signal(width, name=f"window_{group}", reset_less=True)
            shifted = _shift_bits(m, source, offsets[mine], 8, CHUNK, f"shift_{group}")
            m.d.sync += window.eq(shifted)
            windows.append(window)
        span = p.max_write_words * ci
        used = Signal(span, reset_less=True)
        channels = Signal(len(self.result.channels), reset_less=True, attrs=KEEP)
        m.d.sync += [
            channels.eq(self.result.channels),
            used.eq(_thermometer(channels, span)),
        ]
        mask = Signal(span, reset_less=True)
        shift = copies(m, self.result.offset, copies_for(2 * span), "mask_offset")
        m.d.sync += mask.eq(_shift_bits(m, used, shift, 1, -(-span // len(shift)), "mask"))
        return windows, delay(m, mask, 1, "mask_late")

    def _first_bytes(self, group: int) -> dict[int, int]:
        """{first byte of a pixel group's channels: one of the modes that have them there}."""
        p = self.params
        return {group * p.group_channels(k): k for k in p.modes if k > group}

    def _pixel_bytes(
        self, m: Module, group: int, bytes_: Signal, width: int, modes: Iterator[Signal]
    ) -> Signal:
        """The channels of a pixel group, and whatever follows them: it is not enabled. modes: as
        many are taken as there are chunks, if there is a choice."""
        source = Signal(width, name=f"pixel_bytes_{group}")
        (default, _), *others = self._first_bytes(group).items()
        padded = Cat(bytes_, Const(0, width))
        for low in range(0, width, CHUNK):
            high = min(low + CHUNK, width)
            value: Value = padded[8 * default + low : 8 * default + high]
            copy = next(modes) if others else None
            for first, mode in others:
                chosen = padded[8 * first + low : 8 * first + high]
                value = Mux(copy == mode - 1, chosen, value)
            m.d.comb += source[low:high].eq(value)
        return source

    def _write(self, m: Module, windows: list[Signal], mask: Signal) -> None:
        p, n = self.params, self.params.write_slots
        result = self.result
        valid = delay(m, result.valid, 2, "late_valid", reset_less=False)
        address = delay(m, result.address.as_value(), 2, "late_address")
        enable = delay(m, result.enable, 2, "late_enable")
        parts = 3 * n  # halves of the data; bytes, address
        modes = tree(m, self.facts.mode, [copies_for(parts, 8), parts], "slot_mode")
        loads = tree(m, self.load_valid, [3 * p.load_words], "slot_load", reset_less=False)
        load_data = delay(m, self.load_data, 1, "load_data")
        # Kept, or tools make them the end of a shift register, whose output comes late.
        to = data_register(m, self.write.address, attrs=KEEP)
        written, used_bytes = (
            data_register(m, port) for port in (self.write.data, self.write.bytes)
        )
        for slot in range(n):
            copy = slice(3 * slot, 3 * slot + 3)
            data, enables = self._chosen(m, slot, modes[copy], windows, mask)
            used = Signal(name=f"slot_valid_{slot}")
            slot_to: Value = Signal(ADDRESS_BITS, name=f"slot_to_{slot}")
            m.d.comb += [
                used.eq(valid & enable[slot] & enables.any()),
                slot_to.eq(address.word_select(slot, ADDRESS_BITS)),
            ]
            load: Value = Const(0, 1)
            if slot < p.load_words:
                *data_loads, load = loads[copy]
                base = self.facts.bases[slot]
                loaded = add(m, base, self.load_pixel, p.banks, f"load_{slot}")
                slot_to = Mux(load, delay(m, loaded, 1, f"load_to_{slot}"), slot_to)
                word = fields(load_data.word_select(slot, p.word_bits), p.word_bits // 2)
                halves = fields(data, p.word_bits // 2)
                data = Cat(map(Mux, data_loads, word, halves))
            m.d.sync += [
                self.write.valid[slot].eq(used | load),
                to[slot].eq(slot_to),
                written[slot].eq(data),
                used_bytes[slot].eq(enables | load.replicate(p.in_channels)),
            ]

    def _chosen(
        self, m: Module, slot: int, modes: list[Signal], windows: list[Signal], mask: Signal
    ) -> tuple[Signal, Signal]:
        """(data, byte enables) of a slot, of the window that it serves in the mode."""
        p, ci = self.params, self.params.in_channels
        half = p.word_bits // 2
        data = Signal(p.word_bits, name=f"slot_data_{slot}")
        enables = Signal(ci, name=f"slot_bytes_{slot}")
        words = {}
        for mode in p.modes:
            source = slot_source(p, mode, slot)
            if source is not None:
                group, word = source
                bits = windows[group].word_select(word, p.word_bits)
                words[mode] = (bits[:half], bits[half:], mask[word * ci : (word + 1) * ci])
        assert words or slot < p.load_words
        for part, target in enumerate((data[:half], data[half:], enables)):
            value: Value = Const(0, len(target))
            for mode, choices in words.items():
                chosen = choices[part]
                value = (
                    chosen if mode == min(words) else Mux(modes[part] == mode - 1, chosen, value)
                )
            m.d.comb += target.eq(value)
        return data, enables


def _thermometer(value: Signal, bits: int) -> Value:
    """Bit i: value > i, in two steps of tables: tools make ripple chains of so many comparisons."""
    low, high = value[:FINE], value[FINE:]

    def table(part: Value, holds) -> Value:
        return Array([Const(holds(n), 1) for n in range(1 << len(part))])[part]

    def above(limit: int) -> Value:
        coarse, fine = limit >> FINE, limit % (1 << FINE)
        return table(high, lambda n: n > coarse) | (
            table(high, lambda n: n == coarse) & table(low, lambda n: n > fine)
        )

    return Cat(above(i) for i in range(bits))


def _shift_bits(m: Module, value: Signal, amounts: list, unit: int, part: int, name: str) -> Signal:
    """value << (unit * amount), one named stage per bit; amounts: a copy per `part` bits."""
    width = len(value)
    for bit in range(len(amounts[0])):
        step = unit << bit
        if step >= width:
            break
        stage = Signal(width, name=f"{name}_{bit}")
        moved = Cat(Const(0, step), value[: width - step])
        for n, amount in enumerate(amounts):
            bits = slice(n * part, min((n + 1) * part, width))
            m.d.comb += stage[bits.start : bits.stop].eq(
                Mux(amount[bit], moved[bits.start : bits.stop], value[bits.start : bits.stop])
            )
        value = stage
    return value
