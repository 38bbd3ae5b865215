"""Weight loader: stream buffer, and the way of weights and parameters to their registers.

The stream reader fills a ring of stream words ahead of time. The loader executes a queue of
commands in program order: PROGRAM and LOAD hand whole words on; CONV and VECTOR cut parameters and
weight slots out of the stream at 32-bit granules. A CONV's slots are replayed for every pixel tile
and freed with the last one, so every weight crosses the DRAM interface once.

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

from fpga_gen.hardware.fan_out import LOADS, copies, copies_for, tree
from fpga_gen.hardware.params import GRANULE, PARAM_BITS, EngineParams
from fpga_gen.hardware.ram import RamShape, place_ram

COMMAND = StructLayout({"kind": 2, "mode": 2, "groups": 12, "tiles": 16, "slots": 14, "words": 24})
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
        return max(self.params.slot_granules(1), self.params.param_granules(1))

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
        self.may_assemble = Signal()
        self.available = Signal()
        # A word written in this cycle is readable in the next: compare with registered pointers.
        m.d.comb += [
            self.available.eq(self.read_pointer != self.write_pointer),
            ring.r_addr.eq(self.read_pointer[: self.bits]),
        ]
        self.word = Signal(p.stream_bits, reset_less=True)
        m.d.sync += self.word.eq(ring.r_data)

    def _assembly(self, m: Module) -> None:
        """Rotate a ring word by the record's granule offset and write it where it belongs."""
        p = self.params
        per_word = p.stream_granules
        rows = -(-self.block_granules // per_word)
        bits = max((per_word - 1).bit_length(), 1)
        # What travels with a word from the cycle in which it is read; offset: granule offset of
        # the record in its first word; end: last word of the record.
        tag = {"valid": 1, "row": (rows + 1).bit_length(), "offset": bits, "end": 1, "is_param": 1}
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
        # (c after rotation < per_word - offset), else to row w - 1.
        parts = [Signal(GRANULE, name=f"part_{i}", reset_less=True) for i in range(rows * per_word)]
        self.assembly = Cat(*parts)
        for column in range(per_word):
            late = Signal(name=f"late_{column}")
            target = Signal(len(written["row"]), name=f"target_{column}")
            m.d.comb += [
                late.eq(column + written["offset"] >= per_word),
                target.eq(written["row"] - late),
            ]
            for index in range(rows):
                with m.If(written["valid"] & (target == index)):
                    m.d.sync += parts[index * per_word + column].eq(
                        rotated.word_select(column, GRANULE)
                    )
        # `assembly` holds a whole record in the cycle after its last word was written.
        self.slot_complete, self.param_push = Signal(), Signal()
        complete = Signal()
        m.d.comb += [
            complete.eq(written["valid"] & written["end"]),
            self.slot_complete.eq(complete & ~written["is_param"]),
        ]
        m.d.sync += self.param_push.eq(complete & written["is_param"])

    def _mode_table(self, m: Module, mode, values: list[int], name: str) -> Signal:
        out = Signal(max(v.bit_length() for v in values) + 1, name=name)
        m.d.comb += out.eq(Array(values)[mode])
        return out

    def _control(self, m: Module) -> None:
        p = self.params
        per_word = p.stream_granules
        shift = (per_word - 1).bit_length()
        position_bits = self.bits + 1 + shift
        position = Signal(position_bits)  # granule address of the next record
        group_start = Signal(position_bits)
        command = Signal(COMMAND)
        modes = [m_ if m_ in p.modes else 1 for m_ in range(1, p.max_mode + 1)]
        slot_size = self._mode_table(
            m, command.mode, [p.slot_granules(x) for x in modes], "slot_size"
        )
        param_size = self._mode_table(
            m, command.mode, [p.param_granules(x) for x in modes], "param_size"
        )
        group, tile, slot = Signal(12), Signal(16), Signal(14)
        words = Signal(24)
        size = Signal(len(slot_size))
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
            length = param_size if param else slot_size
            m.d.sync += [
                is_param.eq(param),
                size.eq(length),
                self.issue["offset"].eq(position[:shift] if shift else 0),
                self.read_pointer.eq(position[shift:]),
                self.issue["row"].eq(0),
                words_left.eq((position[:shift] + length + per_word - 1) >> shift),
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
                    ]
                    with m.Switch(self.command.kind):
                        with m.Case(KIND_WORDS):
                            m.next = "WORDS"
                        with m.Default():
                            m.next = "PARAMS"
            with m.State("WORDS"):  # hand whole words on
                with m.If(words == 0):
                    m.d.sync += position.eq(self.read_pointer << shift)
                    m.next = "IDLE"
                with m.Elif(self.available & out_room):
                    m.d.comb += fetch.eq(1)
                    m.d.sync += [
                        words.eq(words - 1),
                        self.read_pointer.eq(self.read_pointer + 1),
                        self.free_pointer.eq(self.read_pointer + 1),
                    ]
            with m.State("PARAMS"):
                m.d.sync += replayed.eq(0)
                with m.If(param_taken != PARAM_ENTRIES - 1):
                    m.d.comb += self.take_param.eq(1)
                    begin(1)
            with m.State("SLOT"):
                m.d.sync += replayed.eq(tile != command.tiles - 1)
                begin(0)
            with m.State("FETCH"):
                with m.If(self.available & ((self.issue["row"] != 0) | self.may_assemble)):
                    m.d.comb += self.read_enable.eq(1)
                    m.d.sync += [
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
                        with m.Else():
                            m.d.sync += slot.eq(slot + 1)
                            with m.If(slot == command.slots - 1):
                                m.d.sync += [slot.eq(0), tile.eq(tile + 1)]
                                with m.If(tile != command.tiles - 1):
                                    m.d.sync += position.eq(group_start)
                                with m.Else():
                                    m.d.sync += [tile.eq(0), group.eq(group + 1)]
                                    m.next = "PARAMS"
                                    with m.If(group == command.groups - 1):
                                        m.next = "IDLE"

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
        bits = len(self.stage)
        move = Signal()
        present = Signal()
        m.d.comb += [
            present.eq(assembled | self.slot_complete),
            move.eq(present & ~staged & (hold == 0) & ~self.switch),
            self.may_assemble.eq((waiting == 0) | ((waiting == 1) & ~staged)),
        ]
        m.d.sync += [assembled.eq(present & ~move), waiting.eq(waiting + self.slot_read - move)]
        moves = copies_for(bits)
        parts = []
        for n, enable in enumerate(
            tree(m, move, [-(-moves // 8), moves], "move", reset_less=False)
        ):
            part = Signal(min(LOADS, bits - n * LOADS), name=f"stage_{n}", reset_less=True)
            with m.If(enable):
                m.d.sync += part.eq(self.assembly[n * LOADS : n * LOADS + len(part)])
            parts.append(part)
        stage = Cat(parts)
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
