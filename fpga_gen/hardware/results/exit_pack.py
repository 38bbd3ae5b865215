"""Last stages of the exit path: bytes of several pixels to aligned memory words.

Stage 1: one byte per channel. 2: shift every pixel's channels to the byte offset of the map.
3: words to the write slots of the memory; LOAD words take the slots directly.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.data import ArrayLayout
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import ADDRESS_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, delay
from fpga_gen.hardware.common.fan_out import KEEP, copies, copies_for, tree
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.memory.feature_memory import write_slots

PACK_STAGES = 3  # from stored values to the registered write port
CHUNK = 32  # bits whose multiplexers share one copy of their control


def slot_source(params: EngineParams, mode: int, slot: int) -> tuple[int, int] | None:
    """(pixel group, word) that a write slot serves in a mode; None: unused."""
    group, word = divmod(slot, params.write_words(mode))
    return (group, word) if group < mode else None


class ExitPack(wiring.Component):
    """See module docstring.

    values, maxima come with valid and the slots' address and enable; high (byte plane) and offset
    come a cycle before them, channels (bytes a pixel has) two cycles. mode, pool, out16, bases are
    constant while results are on their way. load_*: a LOAD word for bases + load_pixel.
    write_*: to FeatureMemory.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        self.slots = write_slots(params)
        p, a, n = params, ADDRESS_BITS, self.slots
        super().__init__(
            {
                "values": In(ArrayLayout(signed(16), p.requant_lanes)),
                "maxima": In(p.pool_pixels * p.word_bits),
                "valid": In(1),
                "high": In(1),
                "address": In(n * a),
                "enable": In(n),
                "offset": In(4),
                "channels": In(7),
                "mode": In(2),
                "pool": In(1),
                "out16": In(1),
                "bases": In(p.max_write_words * a),
                "load_valid": In(1),
                "load_pixel": In(a),
                "load_data": In(p.stream_bits),
                "write_valid": Out(n),
                "write_address": Out(n * a),
                "write_data": Out(n * p.word_bits),
                "write_bytes": Out(n * p.word_bits // 8),
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
        highs = tree(m, self.high, [parts], "byte_high")
        pools = tree(m, self.pool, [parts], "byte_pool")
        bytes_ = Signal(count * 8, reset_less=True)
        for column in range(count):
            byte = Const(0, 8)
            copy = column * parts // count
            if column < p.requant_lanes:
                low = self.values[column][:8] ^ Cat(Const(0, 7), self.out16)
                byte = Mux(highs[copy], self.values[column][8:], low)
            if column < pooled:
                byte = Mux(pools[copy], self.maxima.word_select(column, 8), byte)
            m.d.sync += bytes_.word_select(column, 8).eq(byte)
        return bytes_

    def _align(self, m: Module, bytes_: Signal) -> tuple[list[Signal], Signal]:
        """(window of every pixel group, enabled bytes of a window)."""
        p, ci = self.params, self.params.in_channels
        sizes = [max(p.write_words(k) for k in p.modes if k > g) for g in range(p.max_mode)]
        chunks = sum(-(-size * p.word_bits // CHUNK) for size in sizes)
        offsets = tree(m, self.offset, [copies_for(chunks, 8), chunks], "offset")
        modes = tree(m, self.mode, [copies_for(chunks, 8), chunks], "pack_mode")
        windows, used_chunks = [], 0
        for group, size in enumerate(sizes):
            width = size * p.word_bits
            parts = -(-width // CHUNK)
            mine = slice(used_chunks, used_chunks + parts)
            used_chunks += parts
            source = Signal(width, name=f"pixel_bytes_{group}")
            choices = {}
            for mode in p.modes:
                if mode > group:
                    first = group * p.group_channels(mode) * 8
                    last = len(bytes_) if mode == 1 else first + p.group_channels(mode) * 8
                    part = bytes_[first:last]
                    choices[mode] = Cat(part, Const(0, width - len(part)))
            for part, copy in enumerate(modes[mine]):
                bits = slice(part * CHUNK, min((part + 1) * CHUNK, width))
                value = Const(0, bits.stop - bits.start)
                for mode, choice in choices.items():
                    chosen = choice[bits.start : bits.stop]
                    value = chosen if mode == min(choices) else Mux(copy == mode - 1, chosen, value)
                m.d.comb += source[bits.start : bits.stop].eq(value)
            window = Signal(width, name=f"window_{group}", reset_less=True)
            shifted = _shift_bits(m, source, offsets[mine], 8, CHUNK, f"shift_{group}")
            m.d.sync += window.eq(shifted)
            windows.append(window)
        span = p.max_write_words * ci
        used = Signal(span, reset_less=True)
        channels = Signal(len(self.channels), reset_less=True, attrs=KEEP)
        m.d.sync += [
            channels.eq(self.channels),
            used.eq(Cat(*(channels > i for i in range(span)))),
        ]
        mask = Signal(span, reset_less=True)
        shift = copies(m, self.offset, copies_for(2 * span), "mask_offset")
        m.d.sync += mask.eq(_shift_bits(m, used, shift, 1, -(-span // len(shift)), "mask"))
        return windows, delay(m, mask, 1, "mask_late")

    def _write(self, m: Module, windows: list[Signal], mask: Signal) -> None:
        p, ci, a = self.params, self.params.in_channels, ADDRESS_BITS
        late = {
            name: delay(m, getattr(self, name), 2, f"late_{name}", reset_less=name != "valid")
            for name in ("valid", "address", "enable")
        }
        parts = 3 * self.slots  # halves of the data; bytes, address
        modes = tree(m, self.mode, [copies_for(parts, 8), parts], "slot_mode")
        loads = tree(m, self.load_valid, [3 * p.load_words], "slot_load", reset_less=False)
        load_data = delay(m, self.load_data, 1, "load_data")
        half = p.word_bits // 2
        to, written, used_bytes = (
            data_register(m, port)
            for port in (self.write_address, self.write_data, self.write_bytes)
        )
        for slot in range(self.slots):
            data = Signal(p.word_bits, name=f"slot_data_{slot}")
            enables = Signal(ci, name=f"slot_bytes_{slot}")
            address = Signal(a, name=f"slot_to_{slot}")
            valid = Signal(name=f"slot_valid_{slot}")
            words = {}
            for mode in p.modes:
                source = slot_source(p, mode, slot)
                if source is not None:
                    group, word = source
                    words[mode] = (
                        windows[group].word_select(word, p.word_bits),
                        mask[word * ci : (word + 1) * ci],
                    )
            assert words or slot < p.load_words
            mine = modes[3 * slot : 3 * slot + 3]
            for part, mode_now in enumerate(mine):
                value = Const(0, half if part < 2 else ci)
                for mode, (word, used) in words.items():
                    chosen = word[part * half : (part + 1) * half] if part < 2 else used
                    first = mode == min(words)
                    value = chosen if first else Mux(mode_now == mode - 1, chosen, value)
                if part < 2:
                    m.d.comb += data[part * half : (part + 1) * half].eq(value)
                else:
                    m.d.comb += enables.eq(value)
            m.d.comb += [
                valid.eq(late["valid"] & late["enable"][slot] & enables.any()),
                address.eq(late["address"].word_select(slot, a)),
            ]
            load = Const(0, 1)
            if slot < p.load_words:
                load = loads[3 * slot + 2]
                base = self.bases.word_select(slot, a)
                loaded = add(m, base, self.load_pixel, p.banks, f"load_{slot}")
                address = Mux(load, delay(m, loaded, 1, f"load_to_{slot}"), address)
                word = load_data.word_select(slot, p.word_bits)
                parts_of = [slice(part * half, (part + 1) * half) for part in range(2)]
                data = Cat(
                    *(
                        Mux(loads[3 * slot + part], word[bits], data[bits])
                        for part, bits in enumerate(parts_of)
                    )
                )
            m.d.sync += [
                self.write_valid[slot].eq(valid | load),
                to.word_select(slot, a).eq(address),
                written.word_select(slot, p.word_bits).eq(data),
                used_bytes.word_select(slot, ci).eq(enables | load.replicate(ci)),
            ]


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
