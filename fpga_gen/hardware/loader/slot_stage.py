"""Stage of weight slots: a slot goes there from the assembly as soon as the array has the last."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.contract.slot_layout import half_bits, high_bit, low_bit, slot_run
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for
from fpga_gen.hardware.loader.slot_assembly import READ_CYCLES, read_layout, rows, wraps

MOVE_CYCLES = 2  # from the decision to move a slot to the stage until every bit has moved


class SlotStage(wiring.Component):
    """Holds the slot that the array takes with `switch`, and `stage_hold` cycles after it.

    The words of the next record may be read while a slot still waits in the assembly, if every
    bit of it is sure to have left before they are written, READ_CYCLES later.

    assembly, clear, wrap, slot_complete: see SlotAssembly; clear: of the stage's low and high half;
    wrap: which end of a slot lies in front of it. slot_read: the last word of a slot is read.
    may_assemble: the first word of a record may be read. underrun: a switch to an empty stage.
    """

    def __init__(self, params: EngineParams, *, stage_hold: int) -> None:
        # A free stage may still be held; the move is decided with the last word's write.
        assert stage_hold + MOVE_CYCLES <= READ_CYCLES
        self.params = params
        self.stage_hold = stage_hold
        super().__init__(
            {
                "assembly": In(rows(params) * params.stream_bits),
                "clear": In(2),
                "wrap": In(read_layout(params).members["wrap"]),
                "slot_read": In(1),
                "slot_complete": In(1),
                "may_assemble": Out(1),
                "switch": In(1),
                "underrun": Out(1),
                "stage": Out(params.subgroups * params.sub_weight_bits),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        assembled = Signal()  # a complete slot waits in `assembly`
        staged = Signal()  # `stage` holds a slot the array has not switched to
        hold = Signal(range(self.stage_hold + 2))
        waiting = Signal(range(READ_CYCLES + 1))  # slots read, but not in the stage
        move, present = Signal(), Signal()
        m.d.comb += [
            present.eq(assembled | self.slot_complete),
            move.eq(present & ~staged & (hold == 0) & ~self.switch),
            self.may_assemble.eq((waiting == 0) | ((waiting == 1) & ~staged)),
            self.underrun.eq(self.switch & ~staged),
        ]
        m.d.sync += [assembled.eq(present & ~move), waiting.eq(waiting + self.slot_read - move)]
        with m.If(move):
            m.d.sync += staged.eq(1)
        with m.If(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        with m.If(self.switch):
            m.d.sync += [staged.eq(0), hold.eq(self.stage_hold)]
        self._move(m, move)
        return m

    def _halves(self, m: Module) -> list[Signal]:
        """The low and the high half of the assembled slot, the ends of wrapped slots in place."""
        p = self.params
        middle = high_bit(p, 0)
        low, high = Signal(middle, name="low_half"), Signal(middle, name="high_half")
        m.d.comb += [
            low.eq(self.assembly[:middle]),
            high.eq(self.assembly[middle : 2 * middle]),
        ]
        for index, n in enumerate(wraps(p)):
            run, end = slot_run(p, n), high_bit(p, n) - middle
            first = run.first * GRANULE
            with m.If(self.wrap[index]):
                m.d.comb += high[end - run.wrapped : end].eq(
                    self.assembly[first : first + run.wrapped]
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
                clear = copies(m, moving & self.clear[half], 1, f"clear_{half}_{n}")[0]
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
