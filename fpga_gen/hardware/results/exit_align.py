"""Aligns the bytes of an exit step: every pixel group's channels at the byte offset of the map.

Both pixels of a step with two exit pixels lie at the same offset, and have as many channels.

A component of its own, so that tools which trade depth for area do so among equals.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import delay
from fpga_gen.hardware.common.fan_out import KEEP, copies, copies_for, tree
from fpga_gen.hardware.common.resets import data_register
from fpga_gen.hardware.results.exit_records import facts_layout, result_layout

FINE = 3  # low bits of a number of channels that are compared by themselves
CHUNK = 32  # bits whose multiplexers share one copy of their control


def window_bits(params: EngineParams, group: int) -> int:
    """Of the words that a pixel group can touch."""
    return max(params.write_words(k) for k in params.modes if k > group) * params.word_bits


def window_name(row: int, group: int) -> str:
    """Of a pixel group's window, for one of the exit pixels."""
    return f"{('window', 'second')[row]}_{group}"


class ExitAlign(wiring.Component):
    """Members:
    bytes: In, one for each channel, those of the pixel groups one behind the other; of a second
    exit pixel behind all of them. mode: In.
    offset: In, a cycle before them (and before the modes' registers), channels: In, two cycles.
    window_0 ..: Out, a cycle later, the words of every pixel group; second_0 ..: of the second exit
    pixel. mask: Out, with them, enabled bytes of a window; some: Out, its words that have any.
    """

    def __init__(self, params: EngineParams, channels: int) -> None:
        self.params = params
        result, facts = result_layout(params), facts_layout(params)
        words = params.max_write_words
        super().__init__(
            {
                "bytes": In(8 * channels),
                "offset": In(result["offset"].shape),
                "channels": In(result["channels"].shape),
                "mode": In(facts["mode"].shape),
                **{
                    window_name(row, group): Out(window_bits(params, group))
                    for row in range(params.exit_pixels)
                    for group in range(params.max_mode)
                },
                "mask": Out(words * params.in_channels),
                "some": Out(words),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self._windows(m)
        self._mask(m)
        return m

    def _windows(self, m: Module) -> None:
        p = self.params
        sizes = [window_bits(p, g) for g in range(p.max_mode)]
        cuts = [-(-size // CHUNK) for size in sizes]  # chunks of a window
        chunks = p.exit_pixels * sum(cuts)
        offsets = iter(tree(m, self.offset, [copies_for(chunks, 8), chunks], "offset"))
        choosing = sum(cut for g, cut in enumerate(cuts) if len(self._first_bytes(g)) > 1)
        choosing *= p.exit_pixels
        counts = [copies_for(choosing, 8), choosing]
        modes = iter(tree(m, self.mode, counts, "pack_mode") if choosing else ())
        row_bits = len(self.bytes) // p.exit_pixels
        for row, group in itertools.product(range(p.exit_pixels), range(p.max_mode)):
            bytes_ = self.bytes[row * row_bits : (row + 1) * row_bits]
            name = window_name(row, group)
            source = self._pixel_bytes(m, bytes_, group, sizes[group], modes, name)
            window = data_register(m, getattr(self, name))
            mine = list(itertools.islice(offsets, cuts[group]))
            label = name.replace("window", "shift")
            m.d.sync += window.eq(_shift_bits(m, source, mine, 8, CHUNK, label))

    def _mask(self, m: Module) -> None:
        p, ci = self.params, self.params.in_channels
        span = p.max_write_words * ci
        used = Signal(span, reset_less=True)
        channels = Signal(len(self.channels), reset_less=True, attrs=KEEP)
        m.d.sync += [
            channels.eq(self.channels),
            used.eq(_thermometer(channels, span)),
        ]
        mask = Signal(span, reset_less=True)
        shift = copies(m, self.offset, copies_for(2 * span), "mask_offset")
        m.d.sync += mask.eq(_shift_bits(m, used, shift, 1, -(-span // len(shift)), "mask"))
        some = data_register(m, self.some)
        m.d.sync += some.eq(Cat(mask.word_select(w, ci).any() for w in range(p.max_write_words)))
        m.d.comb += self.mask.eq(delay(m, mask, 1, "mask_late"))

    def _first_bytes(self, group: int) -> dict[int, int]:
        """{first byte of a pixel group's channels: one of the modes that have them there}."""
        p = self.params
        return {group * p.group_channels(k): k for k in p.modes if k > group}

    def _pixel_bytes(
        self,
        m: Module,
        bytes_: Value,
        group: int,
        width: int,
        modes: Iterator[Signal],
        window: str,
    ) -> Signal:
        """The channels of a pixel group, and whatever follows them: it is not enabled. bytes_: of
        all groups; modes: as many are taken as there are chunks, if there is a choice; window: its
        name."""
        source = Signal(width, name=window.replace("window", "pixel_bytes"))
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
