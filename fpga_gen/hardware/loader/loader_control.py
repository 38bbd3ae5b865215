"""Order of the loader: which words of the ring are read next, and what they are.

The size of the next record is known while the one before is read, so that records follow each
other without a pause: a slot takes one cycle more than the stream words it touches.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import PARAM_ENTRIES, EngineParams
from fpga_gen.contract.slot_layout import Half, slot_run
from fpga_gen.hardware.common.fan_out import KEEP, copies
from fpga_gen.hardware.common.word_queue import DEPTH
from fpga_gen.hardware.loader.slot_assembly import block_granules, read_layout, wraps

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
COMMAND_PARTS = 2  # of the command, with an enable of their own
QUEUE_MARGIN = 4  # of the word queue: words read before its count tells


class LoaderControl(wiring.Component):
    """See module docstring.

    command_*: next command (valid/ready). Of WeightRing: position, seek, align, advance,
    free_pointer, read_pointer, available. read: see SlotAssembly, of the word that `advance` takes
    in this cycle for a record; queue_write: one of a PROGRAM or LOAD shows on `word`; queue_count:
    words in their queue. may_assemble: a record may begin; slot_read: the last word of a slot is
    read. param_release frees an entry of the parameter memory.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        pointer = params.weight_words.bit_length()
        super().__init__(
            {
                "command_valid": In(1),
                "command_ready": Out(1),
                "command": In(COMMAND),
                "position": Out(pointer + (params.stream_granules - 1).bit_length()),
                "seek": Out(1),
                "align": Out(1),
                "advance": Out(1),
                "free_pointer": Out(pointer),
                "read_pointer": In(pointer),
                "available": In(1),
                "read": Out(read_layout(params)),
                "queue_write": Out(1),
                "queue_count": In(range(DEPTH + 1)),
                "may_assemble": In(1),
                "slot_read": Out(1),
                "param_release": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self._sizes(m)
        self._machine(m)
        return m

    def _command(self, m: Module) -> Signal:
        """The command that is executed: taken in every cycle in which there is none."""
        command = Signal(COMMAND, reset_less=True)
        self.resting = [
            Signal(name=f"resting_copy{n}", init=1, attrs=KEEP) for n in range(COMMAND_PARTS + 2)
        ]
        bits, source = command.as_value(), self.command.as_value()
        step = -(-len(bits) // COMMAND_PARTS)
        for n, resting in enumerate(self.resting[:COMMAND_PARTS]):
            part = slice(n * step, (n + 1) * step)
            with m.If(resting):
                m.d.sync += bits[part].eq(source[part])
        m.d.comb += self.command_ready.eq(self.resting[0])
        return command

    def _sizes(self, m: Module) -> None:
        """Sizes of the records to come, from indices that the machine counts.

        What the next slot holds is known while the one before is read, the subgroups of a group
        while the one before is.
        """
        p = self.params
        self.taken = command = self._command(m)
        self.group = Signal(12, reset_less=True)  # that begins next
        self.slot = Signal(14, reset_less=True)  # that begins next
        self.subgroups = Signal(range(p.subgroups + 1), reset_less=True)
        self.next_final = Signal(reset_less=True)
        self.next_subgroups = Signal(range(p.subgroups + 1), reset_less=True)
        self.end = Signal(14, reset_less=True)  # index of the last slot of a group in the stream
        self.repeat_first = Signal(14, reset_less=True)  # index of the first slot to repeat
        self.has_repeats = Signal(reset_less=True)
        self.is_half, self.is_high = Signal(reset_less=True), Signal(reset_less=True)
        modes = [n if n in p.modes else 1 for n in range(1, p.max_mode + 1)]
        m.d.sync += [
            self.next_final.eq(self.group == command.groups - 1),
            self.next_subgroups.eq(
                Mux(
                    self.next_final,
                    command.last_subgroups,
                    Array([p.subgroups // x for x in modes])[command.mode],
                )
            ),
            self.end.eq(command.slots - command.repeats - 1),
            self.repeat_first.eq(self.end + 1 - command.repeats),
            self.has_repeats.eq(command.repeats != 0),
            self.is_half.eq(self.slot >= command.half_from),
            self.is_high.eq(self.slot >= command.high_from),
        ]
        sizes = [
            p.some_param_granules(min(max(n, 1), p.subgroups))
            for n in range(1 << len(self.subgroups))
        ]
        self.param_size = Signal(range(p.param_granules(1) + 1))
        m.d.comb += self.param_size.eq(
            Mux(command.kind == KIND_VECTOR, p.param_granules(1), Array(sizes)[self.next_subgroups])
        )
        self.kind = Cat(self.subgroups, self.is_half, self.is_high)
        self.runs = [
            slot_run(p, min(max(i % (1 << len(self.subgroups)), 1), p.subgroups), self._half(i))
            for i in range(1 << len(self.kind))
        ]

    def _half(self, kind: int) -> Half:
        """Of a slot, from the two highest bits of its kind: is_half, is_high."""
        bits = self.params.subgroups.bit_length()
        is_half, is_high = kind >> bits & 1, kind >> bits + 1
        return Half.HIGH if is_high else Half.LOW if is_half else Half.BOTH

    def _begin(self, m: Module, size: Signal, words_left: Signal, *, is_param: bool) -> None:
        """Start to read one record at `position`."""
        per_word = self.params.stream_granules
        at = self.position[: (per_word - 1).bit_length()]
        length, first, row = self.param_size, 0, 0
        if not is_param:
            length = Array([r.granules for r in self.runs])[self.kind]
            first = Array([r.first % per_word for r in self.runs])[self.kind]
            row = Array([r.first // per_word for r in self.runs])[self.kind]
        m.d.comb += self.seek.eq(1)
        whole = ~self.is_half & ~self.is_high
        m.d.sync += [
            size.eq(length),
            words_left.eq((at + length + per_word - 1) >> len(at)),
            self.next_read.is_param.eq(is_param),
            self.next_read.offset.eq(at - first),
            self.next_read.row.eq(row + (at < first)),
            self.next_read.clear.eq(Cat(self.is_high, self.is_half & ~self.is_high)),
            self.next_read.wrap.eq(Cat((self.subgroups == n) & whole for n in wraps(self.params))),
        ]

    def _machine(self, m: Module) -> None:
        p = self.params
        per_word = p.stream_granules
        shift = (per_word - 1).bit_length()
        position, command = self.position, self.taken
        group_start = Signal(len(position), reset_less=True)
        tile = Signal(16, reset_less=True)
        last_slot = Signal(reset_less=True)  # of the stream's group: the one that is being read
        repeating = Signal()  # the slots that a tile takes a second time
        repeat_start = Signal(len(position), reset_less=True)
        last_repeats = Signal(reset_less=True)  # after the slot that is being read: repeat
        words = Signal(24, reset_less=True)
        none_left = Signal(reset_less=True)  # of the words to hand on
        size = Signal(range(block_granules(p) + 1), reset_less=True)
        words_left = Signal(range(-(-block_granules(p) // per_word) + 3), reset_less=True)
        begun = Signal(reset_less=True)  # the first word of the record was read
        final = Signal(reset_less=True)
        replayed = Signal(reset_less=True)  # this record will be read again: keep it in the ring
        self.next_read = read = Signal(read_layout(p), reset_less=True)
        reading, last_word = Signal(), Signal()
        next_position = Signal(len(position))
        param_taken = Signal(range(PARAM_ENTRIES + 1))  # entries full or about to be
        take_param = Signal()
        fetch, room = Signal(), Signal()
        m.d.comb += [
            next_position.eq(position + size),
            last_word.eq(words_left == 1),
            self.slot_read.eq(reading & last_word & ~read.is_param),
            self.read.eq(read),
            self.read.valid.eq(reading),
            self.read.end.eq(last_word),
            self.advance.eq(reading | fetch),
            self.queue_write.eq(copies(m, copies(m, fetch, 1, "fetch")[0], 1, "queue_write")[0]),
        ]
        m.d.sync += [
            param_taken.eq(param_taken + take_param - self.param_release),
            room.eq(self.queue_count < DEPTH - QUEUE_MARGIN),
        ]

        m.d.comb += self.align.eq(self.resting[-1])
        with m.If(self.resting[-2]):
            m.d.sync += [
                self.group.eq(0),
                tile.eq(0),
                self.slot.eq(0),
                words.eq(self.command.words),
            ]

        def rest() -> None:
            m.d.sync += [copy.eq(1) for copy in self.resting]
            m.next = "IDLE"

        with m.FSM(name="loader"):
            with m.State("IDLE"):
                with m.If(self.command_valid):
                    m.d.sync += [copy.eq(0) for copy in self.resting]
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
                    rest()
                with m.Elif(self.available & room):
                    m.d.comb += fetch.eq(1)
                    m.d.sync += [
                        words.eq(words - 1),
                        none_left.eq(words == 1),
                        self.free_pointer.eq(self.read_pointer + 1),
                    ]
            with m.State("PARAMS"):
                m.d.sync += [replayed.eq(0), begun.eq(0)]
                with m.If(param_taken != PARAM_ENTRIES - 1):
                    m.d.comb += take_param.eq(1)
                    m.d.sync += [
                        self.group.eq(self.group + 1),
                        final.eq(self.next_final),
                        self.subgroups.eq(self.next_subgroups),
                    ]
                    self._begin(m, size, words_left, is_param=True)
                    m.next = "FETCH"
            with m.State("SLOT"):
                m.d.sync += [
                    begun.eq(0),
                    replayed.eq((tile != command.tiles - 1) | (self.has_repeats & ~repeating)),
                    last_slot.eq(self.slot == self.end),
                    last_repeats.eq(self.has_repeats & ~repeating),
                    self.slot.eq(self.slot + 1),
                ]
                with m.If(self.slot == self.end):
                    first = Mux(self.has_repeats & ~repeating, self.repeat_first, 0)
                    m.d.sync += self.slot.eq(first)
                with m.If(self.slot == self.repeat_first):
                    m.d.sync += repeat_start.eq(position)
                self._begin(m, size, words_left, is_param=False)
                m.next = "FETCH"
            with m.State("FETCH"):
                with m.If(self.available & (begun | self.may_assemble)):
                    m.d.comb += reading.eq(1)
                    m.d.sync += [
                        begun.eq(1),
                        read.row.eq(read.row + 1),
                        words_left.eq(words_left - 1),
                    ]
                    with m.If(last_word):
                        m.d.sync += position.eq(next_position)
                        with m.If(~replayed):
                            m.d.sync += self.free_pointer.eq(next_position >> shift)
                        m.next = "SLOT"
                        with m.If(read.is_param):
                            m.d.sync += group_start.eq(next_position)
                            with m.If(command.kind == KIND_VECTOR):
                                rest()
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
                                    rest()
