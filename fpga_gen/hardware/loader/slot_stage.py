"""Stage of weight slots: a slot goes there from the assembly as soon as the array has the last."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.latencies import STAGE_HOLD
from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.contract.slot_layout import half_bits, high_bit, low_bit, slot_run
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for
from fpga_gen.hardware.loader.joints import AssembledSlot, wraps
from fpga_gen.hardware.loader.slot_assembly import READ_CYCLES

MOVE_CYCLES = 2  # from the decision to move a slot to the stage until every bit has moved


class SlotStage(wiring.Component):
    """Holds the slot that the array takes with `switch`, and STAGE_HOLD cycles after it.

    The words of the next record may be read while a slot still waits in the assembly, if every
    bit of it is sure to have left before they are written, READ_CYCLES later.

    Members:
        slot: from SlotAssembly. slot_read: In, the last word of a slot is read.
        may_assemble: Out, the first word of a record may be read.
        stage: Out, the slot. switch: In; underrun: Out, it came to an empty stage.
    """

    def __init__(self, params: EngineParams) -> None:
        # A free stage may still be held; the move is decided with the last word's write.
        assert STAGE_HOLD + MOVE_CYCLES <= READ_CYCLES
        self.params = params
        super().__init__(
            {
                "slot": In(AssembledSlot(params)),
                "slot_read": In(1),
                "may_assemble": Out(1),
                "switch": In(1),
                "underrun": Out(1),
                "stage": Out(params.subgroups * params.sub_weight_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        assembled = Signal()  # a complete slot waits in the assembly
        staged = Signal()  # `stage` holds a slot the array has not switched to
        hold = Signal(range(STAGE_HOLD + 2))
        waiting = Signal(range(READ_CYCLES + 1))  # slots read, but not in the stage
        move, present = Signal(), Signal()
        m.d.comb += [
            present.eq(assembled | self.slot.complete),
            move.eq(present & ~staged & (hold == 0) & ~self.switch),
            self.underrun.eq(self.switch & ~staged),
        ]
        # A cycle late: the next record begins two cycles behind `slot_read`.
        m.d.sync += self.may_assemble.eq((waiting == 0) | ((waiting == 1) & ~staged))
        m.d.sync += [assembled.eq(present & ~move), waiting.eq(waiting + self.slot_read - move)]
        with m.If(move):
            m.d.sync += staged.eq(1)
        with m.If(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        with m.If(self.switch):
            m.d.sync += [staged.eq(0), hold.eq(STAGE_HOLD)]
        self._move(m, move)
        return m

    def _halves(self, m: Module) -> list[Signal]:
        """The low and the high half of the assembled slot, the ends of wrapped slots in place."""
        p = self.params
        middle = high_bit(p, 0)
        low, high = Signal(middle, name="low_half"), Signal(middle, name="high_half")
        m.d.comb += [
            low.eq(self.slot.record[:middle]),
            high.eq(self.slot.record[middle : 2 * middle]),
        ]
        for index, n in enumerate(wraps(p)):
            run, end = slot_run(p, n), high_bit(p, n) - middle
            first = run.first * GRANULE
            with m.If(self.slot.wrap[index]):
                m.d.comb += high[end - run.wrapped : end].eq(
                    self.slot.record[first : first + run.wrapped]
                )
        return [low, high]

    def _move(self, m: Module, move: Signal) -> None:
        """The stage's registers, MOVE_CYCLES after `move`, in parts with enables of their own."""
        halves = self._halves(m)
        counts = [copies_for(len(half)) for half in halves]
        early = copies(m, move, -(-sum(counts) // 8), "move")
        kept = []
        for half, count in enumerate(counts):
            parts = []
            for n in range(count):
                part = Signal(
                    min(LOADS, len(halves[half]) - n * LOADS), name=f"stage_{half}_{n}",
                    reset_less=True,
                )  # fmt: skip
                moving = early[(n + half * counts[0]) * len(early) // sum(counts)]
                load = copies(m, moving, 1, f"load_{half}_{n}")[0]
                clear = copies(m, moving & self.slot.clear[half], 1, f"clear_{half}_{n}")[0]
                with m.If(clear):
                    m.d.sync += part.eq(0)
                with m.Elif(load):
                    m.d.sync += part.eq(halves[half][n * LOADS : n * LOADS + len(part)])
                parts.append(part)
            kept.append(Cat(parts))
        p = self.params
        size, lows = half_bits(p), len(halves[0])
        m.d.comb += self.stage.eq(
            Cat(
                Cat(
                    kept[0][low_bit(p, s) :][:size],
                    kept[1][high_bit(p, s) - lows :][:size],
                )
                for s in range(p.subgroups)
            )
        )
