"""Addresses of an exit step: pixels of every pixel group, planes of every write slot.

The slots of a second exit pixel lie behind all of the first one's, in the same order.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import width
from fpga_gen.contract.latencies import EXIT_ADDRESS_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, constant, delay
from fpga_gen.hardware.common.fan_out import tree
from fpga_gen.hardware.results.exit_records import facts_layout, result_layout, step_layout


def slot_source(params: EngineParams, mode: int, slot: int) -> tuple[int, int] | None:
    """(pixel group, word) that a write slot serves in a mode, for its exit pixel; None: unused."""
    group, word = divmod(slot % params.row_slots, params.write_words(mode))
    return (group, word) if group < mode else None


class ExitAddress(wiring.Component):
    """A tile step's `result`, `latency` cycles late.

    Members: step, at, facts: from ExitSteps. result: Out, for ExitPack.
    """

    latency = EXIT_ADDRESS_LATENCY

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "step": In(1),
                "at": In(step_layout(params)),
                "facts": In(facts_layout(params)),
                "result": Out(result_layout(params)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p, facts, result = self.params, self.facts, self.result
        self._pixels(m)
        self._slots(m)
        pooled = p.pool_pixels // p.exit_pixels * p.in_channels
        channels = Mux(facts.pool, pooled, facts.channels)

        def late(value, name: str, *, reset_less: bool = True):
            return delay(m, value, self.latency, name, reset_less=reset_less)

        m.d.comb += [
            result.valid.eq(late(self.step, "valid", reset_less=False)),
            result.offset.eq(late(facts.byte_offset, "offset")),
            result.channels.eq(late(channels, "channels")),
            result.high.eq(late(facts.out16 & ~self.at.low_pass, "high")),
        ]
        return m

    def _pixels(self, m: Module) -> None:
        """Stages 1 to 3: the pixel of every group in its byte plane, and whether it is inside."""
        p, at, facts, a = self.params, self.at, self.facts, ADDRESS_BITS
        # Stage 1: this lane's pixel, and which pixel groups are inside the map.
        lane_pixel = Signal(a, reset_less=True)
        position = Signal(width("pixels"), reset_less=True)
        low = Signal(a, reset_less=True)
        m.d.sync += [
            lane_pixel.eq(add(m, at.pixel, at.lane, p.banks, "lane_pixel_sum")),
            position.eq(at.index + at.lane),
            low.eq(Mux(at.low_pass, facts.out_low, 0)),
        ]
        # Stage 2: the low byte plane of a 16-bit map lies elsewhere.
        plane_pixel = Signal(a, reset_less=True)
        m.d.sync += plane_pixel.eq(add(m, lane_pixel, low, p.banks, "plane_pixel_sum"))
        inside = Signal(p.max_mode, reset_less=True)
        room_bits = len(facts.limit) + 1
        for group in range(p.max_mode):
            left = Signal(room_bits, name=f"room_{group}", reset_less=True)  # limit - first pixel
            if group:
                m.d.sync += left.eq(facts.limit - group * p.pixels)
            else:
                m.d.comb += left.eq(facts.limit)
            m.d.sync += inside[group].eq(
                (position.as_signed() < left.as_signed()) & (facts.mode >= group)
            )
        pair = delay(m, at.pair, 1, "pair")
        # The second pixel: of a max-pool step, or of every pixel group.
        groups = range(p.max_mode if p.exit_pixels == 2 else 1)
        seconds = [(group, f"_{group}" if group else "") for group in groups]
        seconds_inside = []
        for group, label in seconds:
            second_inside = Signal(name=f"second_inside{label}", reset_less=True)
            before = Signal(room_bits, name=f"before{label}", reset_less=True)
            there = pair & (facts.mode >= group) if group else pair
            m.d.sync += [
                before.eq(facts.limit - (group * p.pixels + 1)),
                second_inside.eq(there & (position.as_signed() < before.as_signed())),
            ]
            seconds_inside.append(second_inside)
        # Stage 3: the pixel of every group.
        pixels = []
        for group in range(p.max_mode):
            pixel = Signal(a, name=f"pixel_{group}", reset_less=True)
            offset = constant(group * p.pixels, p.banks)
            m.d.sync += pixel.eq(
                add(m, plane_pixel, offset, p.banks, f"pixel_sum_{group}") if group else plane_pixel
            )
            pixels.append(pixel)
        second_pixels = []
        for group, label in seconds:
            pixel = Signal(a, name=f"second_pixel{label}", reset_less=True)
            offset = constant(group * p.pixels + 1, p.banks)
            m.d.sync += pixel.eq(add(m, plane_pixel, offset, p.banks, f"second_pixel_sum{label}"))
            second_pixels.append(pixel)
        late = delay(m, inside, 1, "inside")
        second_late = delay(m, Cat(seconds_inside), 1, "second_inside")
        # Of the first and the second pixel of a step: address of every group, those inside.
        self.pixels = (pixels, late), (second_pixels, second_late)

    def _slots(self, m: Module) -> None:
        """Stages 4 and 5: plane and pixel of every write slot, their sum."""
        p, facts, a = self.params, self.facts, ADDRESS_BITS
        address = Signal(self.result.address.shape(), reset_less=True)
        enable = Signal(p.write_slots, reset_less=True)
        m.d.comb += [self.result.address.eq(address), self.result.enable.eq(enable)]
        modes = tree(m, facts.mode, [p.write_slots], "slot_mode")
        pools = tree(m, facts.pool, [p.write_slots], "slot_pool") if p.exit_pixels == 1 else []
        for slot in range(p.write_slots):
            pixels, inside = self.pixels[slot // p.row_slots]
            base = Signal(a, name=f"slot_base_{slot}", reset_less=True)
            pixel = Signal(a, name=f"slot_pixel_{slot}", reset_less=True)
            used = Signal(name=f"slot_used_{slot}", reset_less=True)
            for mode in p.modes:
                source = slot_source(p, mode, slot)
                with m.If(modes[slot] == mode - 1):
                    if source is not None:
                        group, word = source
                        m.d.sync += [
                            base.eq(facts.bases[word]),
                            pixel.eq(pixels[group]),
                            used.eq(inside[group]),
                        ]
                    else:
                        m.d.sync += used.eq(0)
            if slot == 1 and p.exit_pixels == 1 and p.pool_pixels == 2:
                (second_pixel, *_), second_inside = self.pixels[1]
                with m.If(pools[slot]):
                    m.d.sync += [
                        base.eq(facts.bases[0]),
                        pixel.eq(second_pixel),
                        used.eq(second_inside),
                    ]
            m.d.sync += [
                address[slot].eq(add(m, base, pixel, p.banks, f"slot_address_{slot}")),
                enable[slot].eq(used),
            ]
