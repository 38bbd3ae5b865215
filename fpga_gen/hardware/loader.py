"""Weight loader: stream buffer, and the way of weights and parameters to their registers.

The stream reader fills a ring of stream words ahead of time. The loader executes a queue of
commands in program order: PROGRAM and LOAD hand whole words on; CONV and VECTOR cut parameters and
weight slots out of the stream at 32-bit granules. A CONV's slots are replayed for every pixel tile
and freed with the last one, so every weight crosses the DRAM interface once. Slots may carry half
the inputs or fewer output channels (slot_layout.py); the other half is cleared in the stage.

A slot is assembled in `assembly` and moves to `stage` when the array has taken the slot before.
Its credit for the walker is given with the read of its last word, CREDIT_LEAD cycles before it is
staged at the latest, because the array's switch follows a credit later than that. Records follow
each other without a pause: a slot takes one cycle more than the stream words it touches.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import fifo, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.fan_out import LOADS, copies, copies_for
from fpga_gen.hardware.params import GRANULE, PARAM_BITS, EngineParams
from fpga_gen.hardware.ram import RamShape, place_ram
from fpga_gen.hardware.slot_layout import Half, half_bits, high_bit, low_bit, slot_run

COMMAND = StructLayout(
    {
        "kind": 2,
        "mode": 2,
        "groups": 12,
        "tiles": 16,
        "slots": 14,
        "half_from": 14,
        "high_from": 14,
        "last_subgroups": 4,
        "repeats": 12,
        "words": 24,
    }
)
KIND_WORDS, KIND_CONV, KIND_VECTOR = 0, 1, 2
RING_MARGIN = 4  # words of the ring that stay unused
OUT_QUEUE = 8  # words of PROGRAM and LOAD commands on their way out
OUT_MARGIN = 4  # of the out queue: words fetched before its level tells
READ_CYCLES = 3  # from the read of a ring word to its place in the assembly
MOVE_CYCLES = 2  # from the decision to move a slot to the stage until every bit has moved
CREDIT_LEAD = READ_CYCLES + MOVE_CYCLES  # from a slot's credit to its switch, at least
PARAM_ENTRIES = 4  # parameter memory; one entry stays unused so that it is never overtaken


def ring_shape(params: EngineParams) -> RamShape:
    return RamShape(params.stream_bits, params.weight_words, "block")


def param_shape(params: EngineParams) -> RamShape:
    return RamShape(params.columns * PARAM_BITS, PARAM_ENTRIES, "distributed")


class Loader(wiring.Component):
    """See module docstring.

    words_*: stream words in (valid/ready). command_*: next command (valid/ready). out_*: words of
    PROGRAM and LOAD commands (valid/ready). stage: slot bits for the array, stable from CREDIT_LEAD
    cycles after the credit to `switch` plus `stage_hold` cycles, if the switch before was at least
    CREDIT_LEAD cycles earlier. credit_add: pulse per slot. param_index -> param_data one cycle
    later; param_release frees the oldest entry; params_ready: there is an entry besides the one
    the exit path still holds (param_held). underrun: the array switched to an empty stage.
    """

    def __init__(self, params: EngineParams, *, stage_hold: int, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        self.stage_hold = stage_hold
        self.param_bits = params.columns * PARAM_BITS
        super().__init__(
            {
                "words_valid": In(1),
                "words_ready": Out(1),
                "words_data": In(params.stream_bits),
                "command_valid": In(1),
                "command_ready": Out(1),
                "command": In(COMMAND),
                "out_valid": Out(1),
                "out_ready": In(1),
                "out_data": Out(params.stream_bits),
                "stage": Out(params.subgroups * params.sub_weight_bits),
                "switch": In(1),
                "credit_add": Out(1),
                "param_index": In(range(PARAM_ENTRIES)),
                "param_data": Out(self.param_bits),
                "param_release": In(1),
                "param_held": In(1),
                "params_ready": Out(1),
                "underrun": Out(1),
                "idle": Out(1),
            }
        )

    @property
    def block_granules(self) -> int:
        """Longest record: a mode-1 slot or mode-1 parameters."""
        return max(
            slot_run(self.params, self.params.subgroups).granules, self.params.param_granules(1)
        )

    @property
    def wraps(self) -> list[int]:
        """Numbers of subgroups whose slots begin with their last bits."""
        p = self.params
        return [n for n in range(1, p.subgroups + 1) if slot_run(p, n).wrapped]

    def elaborate(self, platform) -> Module:
        m = Module()
        self._ring(m)
        self._assembly(m)
        self._control(m)
        self._stage(m)
        self._param_memory(m)
        return m

    def _ring(self, m: Module) -> None:
        p = self.params
        depth = p.weight_words
        assert depth & (depth - 1) == 0, "weight_words must be a power of two"
        self.bits = (depth - 1).bit_length()
        ring = place_ram(m, "ring", ring_shape(p), expand=self.expand)
        self.write_pointer = Signal(self.bits + 1)
        self.free_pointer = Signal(self.bits + 1)  # words before it may be overwritten
        # Registered, with a margin for the words that come before it falls.
        room = Signal()
        filled = Signal(self.bits + 1)
        m.d.comb += filled.eq(self.write_pointer - self.free_pointer)
        m.d.sync += room.eq(filled < depth - RING_MARGIN)
        m.d.comb += [
            self.words_ready.eq(room),
            ring.w_en.eq(self.words_valid & room),
            ring.w_addr.eq(self.write_pointer[: self.bits]),
            ring.w_data.eq(self.words_data),
        ]
        with m.If(ring.w_en):
            m.d.sync += self.write_pointer.eq(self.write_pointer + 1)
        self.read_pointer = Signal(self.bits + 1)
        self.read_enable = Signal()
        self.advance = Signal()  # the word at the read pointer is taken
        self.may_assemble = Signal()
        # There is a word at the read pointer: registered, so a word counts a cycle after it may be
        # read. `seek`: the read pointer moves to `position`.
        self.available = Signal()
        self.seek = Signal()
        self.position = Signal(self.bits + 1 + (p.stream_granules - 1).bit_length())
        last_written = Signal(self.bits + 1, init=(2 << self.bits) - 1)
        target = self.position[len(self.position) - self.bits - 1 :]
        m.d.sync += self.available.eq(
            Mux(
                self.seek,
                target != self.write_pointer,
                (self.read_pointer != self.write_pointer)
                & ~(self.advance & (self.read_pointer == last_written)),
            )
        )
        with m.If(ring.w_en):
            m.d.sync += last_written.eq(self.write_pointer)
        m.d.comb += ring.r_addr.eq(self.read_pointer[: self.bits])
        self.word = Signal(p.stream_bits, reset_less=True)
        m.d.sync += self.word.eq(ring.r_data)

    def _assembly(self, m: Module) -> None:
        """Rotate a ring word by the record's granule offset and write it where it belongs."""
        p = self.params
        per_word = p.stream_granules
        rows = -(-self.block_granules // per_word)
        bits = max((per_word - 1).bit_length(), 1)
        # What travels with a word from the cycle in which it is read; row: of the assembly; offset:
        # granules by which it is rotated; end: last word of the record; clear, wrap: see `_stage`.
        tag = {
            "valid": 1,
            "row": (rows + 1).bit_length(),
            "offset": bits,
            "end": 1,
            "is_param": 1,
            "clear": 2,
            "wrap": max(1, len(self.wraps)),
        }
        steps = [
            {k: Signal(width, name=f"{k}_{i}") for k, width in tag.items()}
            for i in range(READ_CYCLES + 1)
        ]
        self.issue = steps[0]
        m.d.comb += self.issue["valid"].eq(self.read_enable)
        for before, after in pairwise(steps):
            m.d.sync += [after[k].eq(before[k]) for k in tag]
        written = steps[-1]
        rotated = Signal(p.stream_bits, reset_less=True)
        value = self.word
        # Copies of the offset that goes with `self.word`, one step before `written`.
        offsets = copies(m, steps[-3]["offset"], per_word, "offset")
        for k in range((per_word - 1).bit_length()):
            amount = GRANULE << k
            turned = Cat(value[amount:], value[:amount])
            stage = Signal(p.stream_bits, name=f"rotate_{k}")
            m.d.comb += [
                stage.word_select(c, GRANULE).eq(
                    Mux(offset[k], turned.word_select(c, GRANULE), value.word_select(c, GRANULE))
                )
                for c, offset in enumerate(offsets)
            ]
            value = stage
        m.d.sync += rotated.eq(value)
        # Granule column c of a word belongs to assembly row w if it lies at or after the offset
        # (c after rotation < per_word - offset), else to row w - 1. Known a cycle ahead.
        parts = [Signal(GRANULE, name=f"part_{i}", reset_less=True) for i in range(rows * per_word)]
        self.assembly = Signal(len(parts) * GRANULE)
        m.d.comb += self.assembly.eq(Cat(parts))
        ahead = steps[-2]
        for column, offset in enumerate(offsets):
            late = Signal(name=f"late_{column}")
            m.d.comb += late.eq(column + offset >= per_word)
            target = copies(m, (ahead["row"] - late)[: len(ahead["row"])], 1, f"target_{column}")[0]
            valid = copies(m, ahead["valid"], 1, f"valid_{column}", reset_less=False)[0]
            for index in range(rows):
                with m.If(valid & (target == index)):
                    m.d.sync += parts[index * per_word + column].eq(
                        rotated.word_select(column, GRANULE)
                    )
        # As long as the slot in the assembly: what the stage must know of it.
        self.clear = Signal(2, reset_less=True)
        self.wrap = Signal(len(written["wrap"]), reset_less=True)
        with m.If(written["valid"] & ~written["is_param"]):
            m.d.sync += [self.clear.eq(written["clear"]), self.wrap.eq(written["wrap"])]
        # `assembly` holds a whole record in the cycle after its last word was written.
        self.slot_complete, self.param_push = Signal(), Signal()
        complete = Signal()
        m.d.comb += [
            complete.eq(written["valid"] & written["end"]),
            self.slot_complete.eq(complete & ~written["is_param"]),
        ]
        m.d.sync += self.param_push.eq(complete & written["is_param"])

    def _half(self, kind: int) -> Half:
        """Of a slot, from the two highest bits of its kind: is_half, is_high."""
        bits = self.params.subgroups.bit_length()
        is_half, is_high = kind >> bits & 1, kind >> bits + 1
        return Half.HIGH if is_high else Half.LOW if is_half else Half.BOTH

    def _control(self, m: Module) -> None:
        p = self.params
        per_word = p.stream_granules
        shift = (per_word - 1).bit_length()
        position = self.position  # granule address of the next record
        position_bits = len(position)
        group_start = Signal(position_bits)
        command = Signal(COMMAND)
        modes = [m_ if m_ in p.modes else 1 for m_ in range(1, p.max_mode + 1)]
        param_size = Signal(range(p.param_granules(1) + 1))
        group = Signal(12)  # that begins next
        tile = Signal(16)
        slot = Signal(14)  # that begins next
        last_slot = Signal()  # of the stream's group: the one that is being read
        repeating = Signal()  # the slots that a tile takes a second time
        repeat_first = Signal(14)  # index of the first of them
        repeat_start = Signal(position_bits)
        end = Signal(14)  # index of the last slot of a group in the stream
        last_repeats = Signal()  # after the slot that is being read come those to repeat
        words = Signal(24)
        none_left = Signal()  # of the words to hand on
        size = Signal(range(self.block_granules + 1))
        begun = Signal()  # the first word of the record was read
        # What the next slot holds is known while the one before is read, the subgroups of a group
        # while the one before is.
        final, next_final = Signal(), Signal()
        next_subgroups = Signal(range(p.subgroups + 1))
        subgroups = Signal(range(p.subgroups + 1))
        is_half, is_high = Signal(), Signal()
        has_repeats = Signal()
        m.d.sync += [
            next_final.eq(group == command.groups - 1),
            next_subgroups.eq(
                Mux(
                    next_final,
                    command.last_subgroups,
                    Array([p.subgroups // x for x in modes])[command.mode],
                )
            ),
            end.eq(command.slots - command.repeats - 1),
            repeat_first.eq(end + 1 - command.repeats),
            has_repeats.eq(command.repeats != 0),
            is_half.eq(slot >= command.half_from),
            is_high.eq(slot >= command.high_from),
        ]
        sizes = [
            p.some_param_granules(min(max(n, 1), p.subgroups)) for n in range(1 << len(subgroups))
        ]
        m.d.comb += param_size.eq(
            Mux(command.kind == KIND_VECTOR, p.param_granules(1), Array(sizes)[next_subgroups])
        )
        kind = Cat(subgroups, is_half, is_high)
        runs = [
            slot_run(p, min(max(i % (1 << len(subgroups)), 1), p.subgroups), self._half(i))
            for i in range(1 << len(kind))
        ]
        words_left = Signal(range(-(-self.block_granules // per_word) + 3))
        is_param = self.issue["is_param"]
        replayed = Signal()  # this record will be read again: keep it in the ring
        self.param_level = Signal(range(PARAM_ENTRIES + 1))
        param_taken = Signal(range(PARAM_ENTRIES + 1))  # entries full or about to be
        self.take_param = Signal()
        m.d.sync += param_taken.eq(param_taken + self.take_param - self.param_release)
        next_position = Signal(position_bits)
        self.slot_read = Signal()  # the last word of a slot is being read
        m.d.comb += [
            next_position.eq(position + size),
            self.issue["end"].eq(words_left == 1),
            self.slot_read.eq(self.read_enable & self.issue["end"] & ~is_param),
            self.credit_add.eq(self.slot_read),
        ]
        m.submodules.out_queue = queue = fifo.SyncFIFOBuffered(width=p.stream_bits, depth=OUT_QUEUE)
        out_room = Signal()  # registered, with a margin for the words on their way
        m.d.comb += [
            self.out_valid.eq(queue.r_rdy),
            self.out_data.eq(queue.r_data),
            queue.r_en.eq(self.out_ready),
            queue.w_data.eq(self.word),
        ]
        fetch = Signal()
        fetch_1, fetch_2 = Signal(), Signal()
        m.d.sync += [fetch_1.eq(fetch), fetch_2.eq(fetch_1)]
        m.d.comb += [queue.w_en.eq(fetch_2)]
        m.d.sync += out_room.eq(queue.level < OUT_QUEUE - OUT_MARGIN)

        def begin(param: int) -> None:
            """Start to fetch one record at `position`."""
            at = position[:shift]
            length, first, row = param_size, 0, 0
            if not param:
                length = Array([r.granules for r in runs])[kind]
                first = Array([r.first % per_word for r in runs])[kind]
                row = Array([r.first // per_word for r in runs])[kind]
            m.d.comb += self.seek.eq(1)
            m.d.sync += [
                is_param.eq(param),
                size.eq(length),
                self.issue["offset"].eq(at - first),
                self.issue["row"].eq(row + (at < first)),
                self.issue["clear"].eq(Cat(is_high, is_half & ~is_high)),
                self.issue["wrap"].eq(
                    Cat((subgroups == n) & ~is_half & ~is_high for n in self.wraps)
                ),
                self.read_pointer.eq(position[shift:]),
                words_left.eq((at + length + per_word - 1) >> shift),
                begun.eq(0),
            ]
            m.next = "FETCH"

        with m.FSM(name="loader"):
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(~queue.r_rdy), self.command_ready.eq(1)]
                with m.If(self.command_valid):
                    m.d.sync += [
                        command.eq(self.command),
                        group.eq(0),
                        tile.eq(0),
                        slot.eq(0),
                        words.eq(self.command.words),
                        self.read_pointer.eq((position + per_word - 1)[:position_bits] >> shift),
                        self.available.eq(0),  # said of another word
                    ]
                    with m.Switch(self.command.kind):
                        with m.Case(KIND_WORDS):
                            m.next = "COUNT"
                        with m.Default():
                            m.next = "SETTLE_1"
            for state, after in (("SETTLE_1", "SETTLE_2"), ("SETTLE_2", "PARAMS")):
                with m.State(state):  # facts of the first group
                    m.next = after
            with m.State("COUNT"):
                m.d.sync += none_left.eq(words == 0)
                m.next = "WORDS"
            with m.State("WORDS"):  # hand whole words on
                with m.If(none_left):
                    m.d.sync += position.eq(self.read_pointer << shift)
                    m.next = "IDLE"
                with m.Elif(self.available & out_room):
                    m.d.comb += [fetch.eq(1), self.advance.eq(1)]
                    m.d.sync += [
                        words.eq(words - 1),
                        none_left.eq(words == 1),
                        self.read_pointer.eq(self.read_pointer + 1),
                        self.free_pointer.eq(self.read_pointer + 1),
                    ]
            with m.State("PARAMS"):
                m.d.sync += replayed.eq(0)
                with m.If(param_taken != PARAM_ENTRIES - 1):
                    m.d.comb += self.take_param.eq(1)
                    m.d.sync += [
                        group.eq(group + 1),
                        final.eq(next_final),
                        subgroups.eq(next_subgroups),
                    ]
                    begin(1)
            with m.State("SLOT"):
                m.d.sync += [
                    replayed.eq((tile != command.tiles - 1) | (has_repeats & ~repeating)),
                    last_slot.eq(slot == end),
                    last_repeats.eq(has_repeats & ~repeating),
                    slot.eq(slot + 1),
                ]
                with m.If(slot == end):
                    m.d.sync += slot.eq(Mux(has_repeats & ~repeating, repeat_first, 0))
                with m.If(slot == repeat_first):
                    m.d.sync += repeat_start.eq(position)
                begin(0)
            with m.State("FETCH"):
                with m.If(self.available & (begun | self.may_assemble)):
                    m.d.comb += [self.read_enable.eq(1), self.advance.eq(1)]
                    m.d.sync += [
                        begun.eq(1),
                        self.issue["row"].eq(self.issue["row"] + 1),
                        words_left.eq(words_left - 1),
                        self.read_pointer.eq(self.read_pointer + 1),
                    ]
                    with m.If(self.issue["end"]):
                        m.d.sync += position.eq(next_position)
                        with m.If(~replayed):
                            m.d.sync += self.free_pointer.eq(next_position >> shift)
                        m.next = "SLOT"
                        with m.If(is_param):
                            m.d.sync += group_start.eq(next_position)
                            with m.If(command.kind == KIND_VECTOR):
                                m.next = "IDLE"
                        with m.Elif(last_slot):
                            m.d.sync += repeating.eq(last_repeats)
                            with m.If(~last_repeats):
                                m.d.sync += tile.eq(tile + 1)
                            with m.If(last_repeats):
                                m.d.sync += position.eq(repeat_start)
                            with m.Elif(replayed):
                                m.d.sync += position.eq(group_start)
                            with m.Else():
                                m.d.sync += tile.eq(0)
                                m.next = "PARAMS"
                                with m.If(final):
                                    m.next = "IDLE"

    def _halves(self, m: Module) -> list[Signal]:
        """The low and the high half of the assembled slot, the ends of wrapped slots in place."""
        p = self.params
        middle = high_bit(p, 0)
        low, high = Signal(middle, name="low_half"), Signal(middle, name="high_half")
        m.d.comb += [
            low.eq(self.assembly[:middle]),
            high.eq(self.assembly[middle : 2 * middle]),
        ]
        for index, n in enumerate(self.wraps):
            run, end = slot_run(p, n), high_bit(p, n) - middle
            first = run.first * GRANULE
            with m.If(self.wrap[index]):
                m.d.comb += high[end - run.wrapped : end].eq(
                    self.assembly[first : first + run.wrapped]
                )
        return [low, high]

    def _stage(self, m: Module) -> None:
        """A slot goes from the assembly to the stage as soon as that is free.

        The words of the next record may be read while a slot still waits in the assembly, if every
        bit of it is sure to have left before they are written, READ_CYCLES later.
        """
        # A free stage may still be held; the move is decided with the last word's write.
        assert self.stage_hold + MOVE_CYCLES <= READ_CYCLES
        assembled = Signal()  # a complete slot waits in `assembly`
        staged = Signal()  # `stage` holds a slot the array has not switched to
        hold = Signal(range(self.stage_hold + 2))
        waiting = Signal(range(READ_CYCLES + 1))  # slots read, but not in the stage
        move = Signal()
        present = Signal()
        m.d.comb += [
            present.eq(assembled | self.slot_complete),
            move.eq(present & ~staged & (hold == 0) & ~self.switch),
            self.may_assemble.eq((waiting == 0) | ((waiting == 1) & ~staged)),
        ]
        m.d.sync += [assembled.eq(present & ~move), waiting.eq(waiting + self.slot_read - move)]
        halves = self._halves(m)
        counts = [copies_for(len(half)) for half in halves]
        early = copies(m, move, -(-sum(counts) // 8), "move", reset_less=False)
        kept = []
        for half, count in enumerate(counts):
            parts = []
            for n in range(count):
                part = Signal(
                    min(LOADS, len(halves[half]) - n * LOADS), name=f"stage_{half}_{n}",
                    reset_less=True,
                )  # fmt: skip
                moving = early[(n + half * counts[0]) * len(early) // sum(counts)]
                load = copies(m, moving, 1, f"load_{half}_{n}", reset_less=False)[0]
                clear = copies(
                    m, moving & self.clear[half], 1, f"clear_{half}_{n}", reset_less=False
                )[0]
                with m.If(clear):
                    m.d.sync += part.eq(0)
                with m.Elif(load):
                    m.d.sync += part.eq(halves[half][n * LOADS : n * LOADS + len(part)])
                parts.append(part)
            kept.append(Cat(parts))
        size, lows = half_bits(self.params), len(halves[0])
        stage = Cat(
            Cat(
                kept[0][low_bit(self.params, s) :][:size],
                kept[1][high_bit(self.params, s) - lows :][:size],
            )
            for s in range(self.params.subgroups)
        )
        with m.If(move):
            m.d.sync += staged.eq(1)
        with m.If(hold != 0):
            m.d.sync += hold.eq(hold - 1)
        with m.If(self.switch):
            m.d.sync += [staged.eq(0), hold.eq(self.stage_hold)]
        m.d.comb += [self.stage.eq(stage), self.underrun.eq(self.switch & ~staged)]

    def _param_memory(self, m: Module) -> None:
        ram = place_ram(m, "param_memory", param_shape(self.params), expand=self.expand)
        pointer = Signal(range(PARAM_ENTRIES))
        m.d.comb += [
            ram.w_addr.eq(pointer),
            ram.w_en.eq(self.param_push),
            ram.w_data.eq(self.assembly[: self.param_bits]),
            ram.r_addr.eq(self.param_index),
            self.param_data.eq(ram.r_data),
            self.params_ready.eq(self.param_level > self.param_held),
        ]
        with m.If(self.param_push):
            m.d.sync += pointer.eq(pointer + 1)
        m.d.sync += self.param_level.eq(self.param_level + self.param_push - self.param_release)
