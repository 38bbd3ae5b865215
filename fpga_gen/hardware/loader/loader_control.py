"""Order of the loader: which words of the ring are read next, and what they are.

The size of the next record is known while the one before is read, so that records follow each
other without a pause: a slot takes one cycle more than the stream words it touches.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import width
from fpga_gen.contract.params import PARAM_ENTRIES, EngineParams
from fpga_gen.hardware.common.fan_out import KEEP, copies
from fpga_gen.hardware.common.records import HEAD_OF_GROUP
from fpga_gen.hardware.common.word_queue import DEPTH
from fpga_gen.hardware.loader.joints import (
    COMMAND,
    KIND_VECTOR,
    KIND_WORDS,
    RingRead,
    block_granules,
    granule_bits,
    read_layout,
)
from fpga_gen.hardware.loader.record_sizes import RecordSizes

COMMAND_PARTS = 2  # of the command, with an enable of their own
QUEUE_MARGIN = 4  # of the word queue: words read before its count tells


class LoaderControl(wiring.Component):
    """See module docstring.

    Members:
        command: the next command. ring: orders to the ring.
        read: Out, see SlotAssembly, of the word that `ring.advance` takes in this cycle for a
            record. may_assemble: In, a record may begin. slot_read: Out, pulse, the last word of a
            slot is read.
        queue_write: Out, a word of a PROGRAM or LOAD shows. queue_count: In, words in their queue.
        param_release: In, pulse, an entry of the parameter memory is free.
        head: In, GroupHead of the parameters that are complete, in the cycle of head_valid.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "ring": Out(RingRead(params)),
                "read": Out(read_layout(params)),
                "queue_write": Out(1),
                "queue_count": In(range(DEPTH + 1)),
                "may_assemble": In(1),
                "slot_read": Out(1),
                "param_release": In(1),
                "head": In(HEAD_OF_GROUP),
                "head_valid": In(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self._command(m)
        self.sizes = RecordSizes(m, self.params, self.taken, self.last_group)
        self._counters(m)
        self._reading(m)
        self._machine(m)
        return m

    def _command(self, m: Module) -> None:
        """The command that is executed: taken in every cycle in which there is none."""
        self.taken = Signal(COMMAND, name="command", reset_less=True)
        self.resting = [
            Signal(name=f"resting_copy{n}", init=1, attrs=KEEP) for n in range(COMMAND_PARTS + 2)
        ]
        self.last_group = Signal(width("n_groups"), reset_less=True)
        with m.If(self.resting[-1]):
            m.d.sync += self.last_group.eq(self.command.payload.groups - 1)
        bits, source = self.taken.as_value(), self.command.payload.as_value()
        step = -(-len(bits) // COMMAND_PARTS)
        for n, resting in enumerate(self.resting[:COMMAND_PARTS]):
            part = slice(n * step, (n + 1) * step)
            with m.If(resting):
                m.d.sync += bits[part].eq(source[part])
        m.d.comb += [self.command.ready.eq(self.resting[0]), self.ring.align.eq(self.resting[-1])]

    def _counters(self, m: Module) -> None:
        """Places in the stream, and what is left."""
        position = self.ring.position
        self.group_start = Signal(len(position), reset_less=True)
        self.repeat_start = Signal(len(position), reset_less=True)
        self.next_position = Signal(len(position))
        self.tile = Signal(width("n_tiles"), reset_less=True)
        self.last_slot = Signal(reset_less=True)  # of the stream's group: the one being read
        self.repeating = Signal()  # the slots that a tile takes a second time
        self.last_repeats = Signal(reset_less=True)  # after the slot that is being read: repeat
        self.words = Signal(width("words"), reset_less=True)
        self.none_left = Signal(reset_less=True)  # of the words to hand on
        self.begun = Signal(reset_less=True)  # the first word of the record was read
        self.final = Signal(reset_less=True)
        self.replayed = Signal(reset_less=True)  # this record is read again: keep it in the ring
        self.param_taken = Signal(range(PARAM_ENTRIES + 1))  # entries full or about to be
        self.take_param = Signal()
        with m.If(self.resting[-2]):
            m.d.sync += [
                self.sizes.group.eq(0),
                self.tile.eq(0),
                self.sizes.slot.eq(0),
                self.words.eq(self.command.payload.words),
            ]
        m.d.sync += self.param_taken.eq(self.param_taken + self.take_param - self.param_release)

    def _reading(self, m: Module) -> None:
        """The record that is read, and words that are handed on."""
        p = self.params
        longest = block_granules(p)
        self.size = Signal(range(longest + 1), reset_less=True)
        self.words_left = Signal(range(-(-longest // p.stream_granules) + 3), reset_less=True)
        self.next_read = read = Signal(read_layout(p), reset_less=True)
        self.now, self.last_word = Signal(name="reading"), Signal()
        self.fetch, self.room = Signal(), Signal()
        # The states SLOT, FETCH and WORDS as registers: `ring.available` comes late.
        self.in_slot, self.in_fetch, self.in_words = (
            Signal(name=n) for n in ("in_slot", "in_fetch", "in_words")
        )
        m.d.comb += [
            self.next_position.eq(self.ring.position + self.size),
            self.last_word.eq(self.words_left == 1),
            self.slot_read.eq(self.now & self.last_word & ~read.is_param),
            self.read.eq(read),
            self.read.valid.eq(self.now),
            self.read.end.eq(self.last_word),
            self.now.eq(self.in_fetch & self.ring.available & (self.begun | self.may_assemble)),
            self.fetch.eq(self.in_words & ~self.none_left & self.ring.available & self.room),
            self.ring.advance.eq(self.now | self.fetch),
            self.ring.seek.eq(self.in_slot | self.take_param),
            self.queue_write.eq(
                copies(m, copies(m, self.fetch, 1, "fetch")[0], 1, "queue_write")[0]
            ),
        ]
        with m.If(self.in_slot & (self.sizes.slot == self.sizes.repeat_first)):
            m.d.sync += self.repeat_start.eq(self.ring.position)
        m.d.sync += self.room.eq(self.queue_count < DEPTH - QUEUE_MARGIN)

    def _to(self, m: Module, state: str) -> None:
        m.next = state
        m.d.sync += [
            self.in_slot.eq(state == "SLOT"),
            self.in_fetch.eq(state == "FETCH"),
            self.in_words.eq(state == "WORDS"),
        ]

    def _rest(self, m: Module) -> None:
        m.d.sync += [copy.eq(1) for copy in self.resting]
        self._to(m, "IDLE")

    def _begin(self, m: Module, *, is_param: bool) -> None:
        """Start to read one record at `position`."""
        per_word = self.params.stream_granules
        at = self.ring.position[: granule_bits(self.params)]
        sizes = self.sizes
        params = (sizes.param, sizes.param_first, 0)
        length, first, row = params if is_param else sizes.run()
        m.d.sync += [
            self.size.eq(length),
            self.words_left.eq((at + length + per_word - 1) >> len(at)),
            self.next_read.is_param.eq(is_param),
            self.next_read.offset.eq(at - first),
            self.next_read.row.eq(row + (at < first)),
            self.next_read.clear.eq(Cat(sizes.is_high, sizes.is_half & ~sizes.is_high)),
            self.next_read.wrap.eq(sizes.wrap()),
        ]

    def _machine(self, m: Module) -> None:
        with m.FSM(name="loader"):
            with m.State("IDLE"):
                with m.If(self.command.valid):
                    m.d.sync += [copy.eq(0) for copy in self.resting]
                    with m.Switch(self.command.payload.kind):
                        with m.Case(KIND_WORDS):
                            self._to(m, "COUNT")
                        with m.Default():
                            self._to(m, "SETTLE_1")
            settling = (
                ("SETTLE_1", "SETTLE_2"), ("SETTLE_2", "PARAMS"),  # facts of the first group
                ("HEAD_1", "HEAD_2"), ("HEAD_2", "SLOT"),  # facts of its slots
            )  # fmt: skip
            for state, after in settling:
                with m.State(state):
                    self._to(m, after)
            with m.State("COUNT"):
                m.d.sync += self.none_left.eq(self.words == 0)
                self._to(m, "WORDS")
            with m.State("WORDS"):
                self._hand_on(m)
            with m.State("PARAMS"):
                self._params(m)
            with m.State("HEAD"):
                with m.If(self.head_valid):
                    names = ("slots", "half_from", "high_from", "repeats")
                    m.d.sync += [self.taken[name].eq(self.head[name]) for name in names]
                    self._to(m, "HEAD_1")
            with m.State("SLOT"):
                self._slot(m)
            with m.State("FETCH"):
                with m.If(self.now):
                    self._read_word(m)

    def _hand_on(self, m: Module) -> None:
        """Whole words to their queue."""
        ring = self.ring
        with m.If(self.none_left):
            m.d.sync += ring.position.eq(ring.read_pointer << granule_bits(self.params))
            self._rest(m)
        with m.Elif(self.fetch):
            m.d.sync += [
                self.words.eq(self.words - 1),
                self.none_left.eq(self.words == 1),
                ring.free_pointer.eq(ring.read_pointer + 1),
            ]

    def _params(self, m: Module) -> None:
        """Begin with a group: its parameters."""
        sizes = self.sizes
        m.d.sync += [self.replayed.eq(0), self.begun.eq(0)]
        with m.If(self.param_taken != PARAM_ENTRIES - 1):
            m.d.comb += self.take_param.eq(1)
            m.d.sync += [
                sizes.group.eq(sizes.group + 1),
                self.final.eq(sizes.next_final),
                sizes.subgroups.eq(sizes.next_subgroups),
            ]
            self._begin(m, is_param=True)
            self._to(m, "FETCH")

    def _slot(self, m: Module) -> None:
        """Begin with a slot."""
        sizes = self.sizes
        repeat = sizes.has_repeats & ~self.repeating
        m.d.sync += [
            self.begun.eq(0),
            self.replayed.eq((self.tile != self.taken.tiles - 1) | repeat),
            self.last_slot.eq(sizes.slot == sizes.end),
            self.last_repeats.eq(repeat),
            sizes.slot.eq(sizes.slot + 1),
        ]
        with m.If(sizes.slot == sizes.end):
            m.d.sync += sizes.slot.eq(Mux(repeat, sizes.repeat_first, 0))
        self._begin(m, is_param=False)
        self._to(m, "FETCH")

    def _read_word(self, m: Module) -> None:
        """A word of the record; with its last one, on to what follows."""
        ring, read = self.ring, self.next_read
        m.d.sync += [
            self.begun.eq(1),
            read.row.eq(read.row + 1),
            self.words_left.eq(self.words_left - 1),
        ]
        with m.If(self.last_word):
            m.d.sync += ring.position.eq(self.next_position)
            with m.If(~self.replayed):
                free = self.next_position >> granule_bits(self.params)
                m.d.sync += ring.free_pointer.eq(free)
            self._to(m, "SLOT")
            with m.If(read.is_param):
                m.d.sync += self.group_start.eq(self.next_position)
                with m.If(self.taken.listed):
                    self._to(m, "HEAD")
                with m.If(self.taken.kind == KIND_VECTOR):
                    self._rest(m)
            with m.Elif(self.last_slot):
                self._end_of_slots(m)

    def _end_of_slots(self, m: Module) -> None:
        """Behind the last slot of a group in the stream: to its repeats, again for the next tile,
        or to the next group."""
        position = self.ring.position
        m.d.sync += self.repeating.eq(self.last_repeats)
        with m.If(~self.last_repeats):
            m.d.sync += self.tile.eq(self.tile + 1)
        with m.If(self.last_repeats):
            m.d.sync += position.eq(self.repeat_start)
        with m.Elif(self.replayed):
            m.d.sync += position.eq(self.group_start)
        with m.Else():
            m.d.sync += self.tile.eq(0)
            self._to(m, "PARAMS")
            with m.If(self.final):
                self._rest(m)
