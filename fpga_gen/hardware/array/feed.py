"""Way of a beat from the feature-map memory to the array and the max-pool unit.

The words of the lanes come READ_LATENCY cycles after the beat; lanes outside the map get the
padding instead, and the beat waits for them.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.latencies import ARRAY_LEAD, MASK_LATENCY, MASK_STAGE, READ_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import delay
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for, tree
from fpga_gen.hardware.common.joints import ArrayBeat, Beat, PoolBeat


class ArrayFeed(wiring.Component):
    """See module docstring.

    Members:
        beat: In, as the walker puts it out. words: In, of the lanes, from the memory. mask: In, a
            bit for each lane that is inside the map, MASK_LATENCY - 1 cycles after the beat.
        array, pool: Out, the beat for one of the two, `latency` cycles after `beat`.
    """

    latency = READ_LATENCY + MASK_STAGE

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "beat": In(Beat(params)),
                "words": In(params.lanes * params.word_bits),
                "mask": In(params.lanes),
                "array": Out(ArrayBeat(params)),
                "pool": Out(PoolBeat(params)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        beat, array, pool, lag = self.beat, self.array, self.pool, self.latency
        lanes = self._masked(m)

        def late(value: Value, name: str, cycles: int = lag, **kind) -> Value:
            return delay(m, value, cycles, name, **kind)

        early = lag - ARRAY_LEAD
        first, last = late(beat.first, "first"), late(beat.last, "last")
        m.d.comb += [
            array.act.eq(lanes),
            array.valid.eq(late(beat.valid & ~beat.pool, "array_valid", reset_less=False)),
            array.t.eq(late(beat.t, "t")),
            array.first.eq(first),
            array.shift.eq(late(beat.shift, "shift")),
            array.last.eq(last),
            array.switch.eq(late(beat.switch, "switch", early, reset_less=False)),
            array.mode.eq(late(beat.mode, "mode", early)),
            pool.act.eq(lanes),
            pool.valid.eq(late(beat.valid & beat.pool, "pool_valid", reset_less=False)),
            pool.t.eq(late(beat.t, "pool_t", lag - 1)),
            pool.first.eq(first),
            pool.last.eq(last),
        ]
        return m

    def _masked(self, m: Module) -> Signal:
        """Lanes with their padding; mask and padding bit in as many copies as they need."""
        p, w = self.params, self.params.word_bits
        masked = delay(m, self.mask, READ_LATENCY - MASK_LATENCY, "mask")
        pads = tree(m, self.beat.pad,
                    [1] * (READ_LATENCY - 2) + [1, copies_for(p.lanes * p.in_channels)],
                    "pad")  # fmt: skip
        lanes = Signal(p.lanes * w, reset_less=True)
        for lane in range(p.lanes):
            pad = pads[lane * p.in_channels // LOADS]
            pad_word = Cat(*([Const(0, 7), pad] * p.in_channels))
            word = self.words.word_select(lane, w)
            inside = copies(m, masked[lane], copies_for(w), f"inside_{lane}")
            for part, mask in enumerate(inside):
                bits = slice(part * LOADS, min((part + 1) * LOADS, w))
                m.d.sync += lanes[lane * w + bits.start : lane * w + bits.stop].eq(
                    Mux(mask, word[bits], pad_word[bits])
                )
        return lanes
