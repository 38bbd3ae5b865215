"""Assembly of records: ring words rotated by a granule offset and written where they belong."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.hardware.common.fan_out import KEEP, copies
from fpga_gen.hardware.loader.joints import AssembledSlot, granule_bits, read_layout, rows

READ_CYCLES = 3  # from the read of a ring word to its place in the assembly


class SlotAssembly(wiring.Component):
    """See module docstring.

    Members:
        read: In, of the word that shows on `word` two cycles later.
        slot: Out, to the stage; slot.record holds parameters as well.
        param_push: Out, pulse, slot.record is one of parameters.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "read": In(read_layout(params)),
                "word": In(params.stream_bits),
                "slot": Out(AssembledSlot(params)),
                "param_push": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        per_word = self.params.stream_granules
        # The offset is needed one step before `ahead`, in copies for every granule column: its low
        # and its high bits, each for one step of the rotation.
        first = Signal(self.read.shape(), name="read_1", reset_less=True)
        m.d.sync += first.eq(self.read)
        offsets = copies(m, first.offset, 2 * per_word, "offset")
        tags = {name: first[name] for name in self.read.shape().members if name != "offset"}
        steps = []
        for step in range(2, READ_CYCLES + 1):
            # The last step decides something: registers, which are faster than a shift register.
            later = {
                n: Signal.like(t, name=f"{n}_{step}", reset_less=True,
                               attrs=KEEP if step == READ_CYCLES else {})
                for n, t in tags.items()
            }  # fmt: skip
            m.d.sync += [later[name].eq(tag) for name, tag in tags.items()]
            steps.append(tags := later)
        ahead, written = steps[-2:]
        rotated = Signal(self.params.stream_bits, reset_less=True)
        m.d.sync += rotated.eq(self._rotate(m, offsets))
        # Granule column c of a word belongs to assembly row w if it lies at or after the offset
        # (c after rotation < per_word - offset), else to row w - 1. Known a cycle ahead.
        count = rows(self.params)
        parts = [
            Signal(GRANULE, name=f"part_{i}", reset_less=True) for i in range(count * per_word)
        ]
        m.d.comb += self.slot.record.eq(Cat(parts))
        for column, offset in enumerate(offsets[1::2]):
            late = Signal(name=f"late_{column}")
            m.d.comb += late.eq(column + offset >= per_word)
            target = copies(m, (ahead["row"] - late)[: len(ahead["row"])], 1, f"target_{column}")[0]
            valid = copies(m, ahead["valid"], 1, f"valid_{column}")[0]
            for index in range(count):
                with m.If(valid & (target == index)):
                    m.d.sync += parts[index * per_word + column].eq(
                        rotated.word_select(column, GRANULE)
                    )
        with m.If(written["valid"] & ~written["is_param"]):
            m.d.sync += [self.slot.clear.eq(written["clear"]), self.slot.wrap.eq(written["wrap"])]
        complete = Signal()
        m.d.comb += [
            complete.eq(written["valid"] & written["end"]),
            self.slot.complete.eq(complete & ~written["is_param"]),
        ]
        m.d.sync += self.param_push.eq(complete & written["is_param"])
        return m

    def _rotate(self, m: Module, offsets: list[Signal]) -> Signal:
        """`word` turned down by an offset, two bits of it at a time; copy 2c of the offset turns
        column c in the first step, copy 2c + 1 in the second."""
        value, per_word = self.word, self.params.stream_granules
        for low in range(0, granule_bits(self.params), 2):
            turned = Signal(self.params.stream_bits, name=f"rotate_{low}")
            for column, offset in enumerate(offsets[low // 2 & 1 :: 2]):
                amount = offset[low : low + 2]
                sources = [
                    value.word_select((column + (k << low)) % per_word, GRANULE)
                    for k in range(1 << len(amount))
                ]
                m.d.comb += turned.word_select(column, GRANULE).eq(Array(sources)[amount])
            value = turned
        return value
