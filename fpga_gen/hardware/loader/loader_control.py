"""Order of the loader: which words of the ring are read next, and what they are.

The size of the next record is known while the one before is read, so that records follow each
other without a pause: a slot takes one cycle more than the stream words it touches.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import width
from fpga_gen.contract.params import PARAM_ENTRIES, EngineParams
from fpga_gen.hardware.common.fan_out import copies
from fpga_gen.hardware.common.records import HEAD_OF_GROUP
from fpga_gen.hardware.common.states import ALWAYS, States
from fpga_gen.hardware.common.word_queue import DEPTH
from fpga_gen.hardware.loader.joints import (
    COMMAND,
    KIND_VECTOR,
    KIND_WORDS,
    RingRead,
    available,
    block_granules,
    granule_bits,
    read_layout,
)
from fpga_gen.hardware.loader.record_sizes import Place, RecordSizes

STATES = ("IDLE", "SETTLE_1", "SETTLE_2", "COUNT", "WORDS", "PARAMS", "HEAD", "HEAD_1", "HEAD_2",
          "SLOT", "FETCH")  # fmt: skip
HEAD_NAMES = ("slots", "half_from", "high_from", "repeats")  # of a command, told by the head
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
        self.states = States(STATES)
        self.now = self.states.now
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
            self.states.copy(m, "IDLE", f"resting_copy{n}") for n in range(COMMAND_PARTS + 2)
        ]
        self.last_group = Signal(width("n_groups"), reset_less=True)
        with m.If(self.resting[-1]):
            m.d.sync += self.last_group.eq(self.command.payload.groups - 1)
        taken = self.taken
        head = Cat(taken[name] for name in HEAD_NAMES)
        with m.If(self.now["HEAD"]):
            m.d.sync += head.eq(Cat(self.head[name] for name in HEAD_NAMES))
        bits, source = taken.as_value(), self.command.payload.as_value()
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
        self.last_tile = Signal(len(self.tile), reset_less=True)
        m.d.sync += self.last_tile.eq(self.taken.tiles - 1)
        self.last_slot = Signal(reset_less=True)  # what is read is that of a group in the stream
        self.ends_tile = Signal(reset_less=True)  # what is read is the last slot of a tile
        self.next_tile = Signal.like(self.tile, name="next_tile")  # there before a slot is read
        m.d.sync += self.next_tile.eq(self.tile + 1)
        self.repeating = Signal()  # the slots that a tile takes a second time
        self.last_repeats = Signal(reset_less=True)  # after the slot that is being read: repeat
        self.words = Signal(width("words"), reset_less=True)
        self.none_left = Signal(reset_less=True)  # of the words to hand on
        # Where the record that is read leads to, if not to a slot; registers of its beginning.
        self.after = {
            state: Signal(name=f"to_{state.lower()}", reset_less=True)
            for state in ("IDLE", "HEAD", "PARAMS")
        }
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
        m.d.comb += self.take_param.eq(self.now["PARAMS"] & (self.param_taken != PARAM_ENTRIES - 1))
        m.d.sync += self.param_taken.eq(self.param_taken + self.take_param - self.param_release)

    def _reading(self, m: Module) -> None:
        """The record that is read, and words that are handed on."""
        p, now = self.params, self.now
        longest = block_granules(p)
        self.size = Signal(range(longest + 1), reset_less=True)
        self.words_left = Signal(range(-(-longest // p.stream_granules) + 3), reset_less=True)
        self.next_read = read = Signal(read_layout(p), reset_less=True)
        self.reading, self.last_word = Signal(), Signal()
        self.fetch, self.room = Signal(), Signal()
        m.d.comb += [
            self.next_position.eq(self.ring.position + self.size),
            self.last_word.eq(self.words_left == 1),
            self.slot_read.eq(self.reading & self.last_word & ~read.is_param),
            self.read.eq(read),
            self.read.valid.eq(self.reading),
            self.read.end.eq(self.last_word),
            self.reading.eq(now["FETCH"] & available(self.ring) & (self.begun | self.may_assemble)),
            self.fetch.eq(now["WORDS"] & ~self.none_left & available(self.ring) & self.room),
            self.ring.advance.eq(self.reading | self.fetch),
            self.ring.seek.eq(now["SLOT"] | self.take_param),
            self.queue_write.eq(
                copies(m, copies(m, self.fetch, 1, "fetch")[0], 1, "queue_write")[0]
            ),
        ]
        m.d.sync += self.room.eq(self.queue_count < DEPTH - QUEUE_MARGIN)
        with m.If(now["COUNT"]):
            m.d.sync += self.none_left.eq(self.words == 0)
        with m.Elif(self.fetch):
            m.d.sync += [self.words.eq(self.words - 1), self.none_left.eq(self.words == 1)]

    def _machine(self, m: Module) -> None:
        """Where each state goes."""
        command = self.command
        done = Signal()  # the last word of a record is read
        m.d.comb += done.eq(self.reading & self.last_word)
        for source, target, when in (
            ("IDLE", "COUNT", command.valid & (command.payload.kind == KIND_WORDS)),
            ("IDLE", "SETTLE_1", command.valid),
            ("SETTLE_1", "SETTLE_2", ALWAYS),  # facts of the first group
            ("SETTLE_2", "PARAMS", ALWAYS),
            ("COUNT", "WORDS", ALWAYS),
            ("WORDS", "IDLE", self.none_left),
            ("PARAMS", "FETCH", self.take_param),
            ("HEAD", "HEAD_1", self.head_valid),
            ("HEAD_1", "HEAD_2", ALWAYS),  # facts of its slots
            ("HEAD_2", "SLOT", ALWAYS),
            ("SLOT", "FETCH", ALWAYS),
            ("FETCH", "FETCH", ~done),
            *(("FETCH", state, when) for state, when in self.after.items()),
            ("FETCH", "SLOT", ALWAYS),
        ):
            self.states.move(source, target, when)
        self.states.build(m)
        self._begin_record(m)
        self._begin_slot(m)
        self._go_on(m, done)

    def _begin_record(self, m: Module) -> None:
        """To the record at `position`: a slot, or parameters, as long as they wait."""
        sizes = self.sizes
        at = self.ring.position[: granule_bits(self.params)]
        in_slot, read = self.now["SLOT"], self.next_read

        def choose(of: Callable[[Place], Value]) -> Value:  # both are there before the choice
            return Mux(in_slot, of(sizes.slot_place), of(sizes.param_place))

        with m.If(in_slot | self.now["PARAMS"]):
            m.d.sync += [
                self.begun.eq(0),
                self.size.eq(choose(lambda place: place.granules)),
                self.words_left.eq(choose(lambda place: (at + place.filled) >> len(at))),
                read.is_param.eq(~in_slot),
                read.offset.eq(choose(lambda place: at - place.first)),
                read.row.eq(choose(lambda place: place.row + (at < place.first))),
                read.clear.eq(Cat(sizes.is_high, sizes.is_half & ~sizes.is_high)),
                read.wrap.eq(sizes.wrap()),
            ]
        with m.Elif(self.reading):
            m.d.sync += [
                self.begun.eq(1),
                read.row.eq(read.row + 1),
                self.words_left.eq(self.words_left - 1),
            ]
        with m.If(self.take_param):
            m.d.sync += [
                sizes.group.eq(sizes.group + 1),
                self.final.eq(sizes.next_final),
                sizes.subgroups.eq(sizes.next_subgroups),
            ]

    def _begin_slot(self, m: Module) -> None:
        """What the slot that begins is in its group and tile."""
        sizes, in_slot, after = self.sizes, self.now["SLOT"], self.after
        repeat = sizes.has_repeats & ~self.repeating
        ends = sizes.at_end & (self.tile == self.last_tile) & ~repeat  # the group
        vector = self.taken.kind == KIND_VECTOR
        with m.If(in_slot):
            m.d.sync += [
                after["IDLE"].eq(ends & self.final),
                after["PARAMS"].eq(ends & ~self.final),
                after["HEAD"].eq(0),
                self.replayed.eq((self.tile != self.last_tile) | repeat),
                self.last_slot.eq(sizes.at_end),
                self.ends_tile.eq(sizes.at_end & ~repeat),
                self.last_repeats.eq(repeat),
                sizes.slot.eq(sizes.slot + 1),
            ]
            with m.If(sizes.at_end):
                m.d.sync += sizes.slot.eq(Mux(repeat, sizes.repeat_first, 0))
        with m.Elif(self.now["PARAMS"]):
            m.d.sync += [
                after["IDLE"].eq(vector),
                after["PARAMS"].eq(0),
                after["HEAD"].eq(~vector & self.taken.listed),
                self.replayed.eq(0),
                self.last_slot.eq(0),
                self.ends_tile.eq(0),
            ]
        with m.If(in_slot & sizes.at_repeat):
            m.d.sync += self.repeat_start.eq(self.ring.position)

    def _go_on(self, m: Module, done: Value) -> None:
        """Behind a record to the next one; behind the last slot of a group in the stream to its
        repeats, again for the next tile, or to the next group."""
        ring, read = self.ring, self.next_read
        bits = granule_bits(self.params)
        after = Mux(self.last_repeats, self.repeat_start, self.group_start)
        back = self.last_slot & (self.last_repeats | self.replayed)
        with m.If(done):
            m.d.sync += ring.position.eq(Mux(back, after, self.next_position))
        with m.Elif(self.now["WORDS"] & self.none_left):
            m.d.sync += ring.position.eq(ring.read_pointer << bits)
        with m.If(done & ~self.replayed):
            m.d.sync += ring.free_pointer.eq(self.next_position >> bits)
        with m.Elif(self.fetch):
            m.d.sync += ring.free_pointer.eq(ring.read_pointer + 1)
        with m.If(done & read.is_param):
            m.d.sync += self.group_start.eq(self.next_position)
        with m.If(done & self.last_slot):
            m.d.sync += self.repeating.eq(self.last_repeats)
        with m.If(done & self.ends_tile):
            m.d.sync += self.tile.eq(Mux(self.replayed, self.next_tile, 0))
