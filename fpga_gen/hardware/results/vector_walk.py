"""Walk of the vector unit: which word of which source is read next, and what it is for.

One read a cycle, of two neighbouring taps: byte planes, reads of a row, rows of taps, sources,
output pixels, blocks. The first factor of a product that is one pixel is read once in a block: it
stays the operand.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.isa import MAX_SOURCES, MAX_TABLE, width
from fpga_gen.contract.latencies import READ_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, constant
from fpga_gen.hardware.common.fan_out import copies, copies_for
from fpga_gen.hardware.common.joints import Issue, TableWrite
from fpga_gen.hardware.results.vector_facts import VectorFacts
from fpga_gen.hardware.results.vector_term import FACTS, READ

DRAIN_CYCLES = 18  # and the memory's latency: from the last read to its result


class VectorWalk(wiring.Component):
    """See module docstring.

    Members:
        issue: start of a VECTOR. tables: its sources, written while not busy.
        busy: Out, from the start until the last result has left.
        facts: Out, of the instruction. issued: Out, a read.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "issue": In(Issue()),
                "tables": In(TableWrite()),
                "busy": Out(1),
                "facts": Out(FACTS),
                "issued": Out(READ),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.cfg = self.issue.header.vector
        self.taken = VectorFacts(m, self.cfg, self.tables, self.facts)
        self._counters(m)
        self._blocks(m)
        self._machine(m)
        self._put_out(m)
        return m

    def _counters(self, m: Module) -> None:
        """Where the walk is, and whether it is at an end."""
        cfg = self.cfg
        self.blocks_left, self.rows_left, self.columns_left = (
            Signal(len(count), name=name, reset_less=True)
            for name, count in (
                ("blocks_left", cfg.n_blocks),
                ("rows_left", cfg.out_h),
                ("columns_left", cfg.out_w),
            )
        )
        # Of the current step: its row's last one; it has two pixels; its row is the last.
        self.last_column, self.both, self.last_row = (
            Signal(name=n) for n in ("last_column", "both", "last_row")
        )
        self.source = Signal(range(MAX_SOURCES))
        self.y_tap, self.x_tap = (
            Signal(width(name), name=f"{name[0]}_tap") for name in ("y_taps", "x_reads")
        )
        self.low = Signal()
        self.y_row = Signal(range(MAX_TABLE), reset_less=True)
        self.x_row = Signal(range(MAX_TABLE // 2), reset_less=True)
        self.run = Signal()  # a read is issued
        # Of the present read, as registers: its source has two planes, it is in the last column of
        # taps, the last row of taps, the last source.
        self.wide, self.last_x_tap, self.last_y_tap, self.last_source = (
            Signal(name=n, reset_less=True)
            for n in ("wide", "last_x_tap", "last_y_tap", "last_source")
        )
        self.near_x_tap, self.near_y_tap = (  # the tap before the last one
            Signal(name=n, reset_less=True) for n in ("near_x_tap", "near_y_tap")
        )
        self.last_block, self.last_plane = Signal(reset_less=True), Signal(reset_less=True)
        self.last_read, self.next_last = Signal(reset_less=True), Signal()
        self.in_read, self.in_block, self.in_drain = (  # what the walk is in
            Signal(name=n) for n in ("in_read", "in_block", "in_drain")
        )
        self.held = Signal()  # the next step's first factor is that of this one
        if self.params.activations:
            kept = Signal(reset_less=True)
            m.d.sync += kept.eq(self.facts.product & self.taken.sources[0].still)
            m.d.comb += self.held.eq(kept & ~(self.last_column & self.last_row))
        self.first_read = Signal(init=1)
        # The present read is a whole result, but there are two exit steps: leave a gap.
        self.single = Signal(reset_less=True)
        self.draining = Signal(range(32))
        # By source: it is the last one and takes one read. Facts, a cycle behind the others.
        self.only_read = [
            Signal(name=f"only_read_{i}", reset_less=True) for i in range(MAX_SOURCES)
        ]
        m.d.sync += [
            self.last_block.eq(self.blocks_left == 1),
            *(only.eq(self.taken.only_read(i)) for i, only in enumerate(self.only_read)),
        ]
        m.d.comb += [
            self.issued.y_index.eq(self.y_row + self.y_tap),
            self.issued.x_index.eq(self.x_row + self.x_tap),
        ]

    def _blocks(self, m: Module) -> None:
        """Output pixel, and the plane of every source that the block reads."""
        p = self.params
        self.pixel = Signal(ADDRESS_BITS, reset_less=True)  # output pixel, linear from 0
        self.block_out = Signal(ADDRESS_BITS, reset_less=True)
        self.block_base = [
            Signal(ADDRESS_BITS, name=f"block_base_{i}", reset_less=True)
            for i in range(MAX_SOURCES)
        ]
        step = Mux(self.both, constant(2, p.banks), constant(1, p.banks))
        self.next_pixel = add(m, self.pixel, step, p.banks, "vector_next_pixel")
        self.next_out = add(m, self.block_out, self.taken.out_plane, p.banks, "vector_next_out")
        self.move = Signal(range(MAX_SOURCES + 1))
        move_base, move_plane = (
            Signal(ADDRESS_BITS, name=n, reset_less=True) for n in ("move_base", "move_plane")
        )
        moved = self.move[: len(self.source)]
        m.d.sync += [
            move_base.eq(Array(self.block_base)[moved]),
            move_plane.eq(Array(s.plane for s in self.taken.sources)[moved]),
        ]
        self.move_sum = add(m, move_base, move_plane, p.banks, "vector_move")
        # One cycle after the start: the bases are too many loads for the state that starts.
        loads = MAX_SOURCES * ADDRESS_BITS
        begin = copies(m, self.issue.start & ~self.busy, copies_for(loads), "begin",
                       reset_less=False)  # fmt: skip
        for index, (base, source) in enumerate(
            zip(self.block_base, self.taken.sources, strict=True)
        ):
            with m.If(begin[index * len(begin) // MAX_SOURCES]):
                m.d.sync += base.eq(source.base)

    def _machine(self, m: Module) -> None:
        """A register for each state: a start, SETUP, READ and BLOCK in turn, DRAIN."""
        start = Signal()
        map_end, block_end, drained = Signal(), Signal(), Signal()
        m.d.comb += [
            start.eq(self.issue.start & ~self.busy),
            map_end.eq(self.run & self.last_read & self.last_column & self.last_row),
            block_end.eq(self.in_block & (self.move == MAX_SOURCES)),
            drained.eq(self.in_drain & (self.draining == 0)),
        ]
        setup, setup_taps = copies(m, start, 2, "setup", reset_less=False)
        m.d.sync += [
            self.in_read.eq((self.in_read & ~map_end) | setup | block_end),
            self.in_block.eq((self.in_block & ~block_end) | (map_end & ~self.last_block)),
            self.in_drain.eq((self.in_drain & ~drained) | (map_end & self.last_block)),
        ]
        only_read = (
            self.taken.single_read & ~self.taken.sources[0].wide
        )  # of the result, as in `only_read`
        with m.If(start):
            self._begin(m)
        with m.If(setup):
            self._to_row_start(m)
            self._to_map_start(m)
        with m.If(setup_taps):
            self._to_column(m, first=True)
            self._to_tap_row(m, first=True)
            self._to_source(m, 0)
            m.d.sync += [
                self.last_read.eq(only_read),
                self.single.eq(only_read & self.facts.out16),
            ]
        # A register, as all that moves on waits for it; a cycle of READ without it is a gap.
        next_single = Signal()
        m.d.comb += next_single.eq(self.last_read & self.next_last & self.facts.out16)
        m.d.sync += self.run.eq(
            Mux(
                self.run,
                ~map_end & ~next_single,
                self.in_read
                | (setup_taps & ~(only_read & self.facts.out16))
                | (block_end & ~self.single),
            )
        )
        self._look_ahead(m)
        with m.If(self.run):
            self._read(m)
            m.d.sync += [self.last_read.eq(self.next_last), self.single.eq(next_single)]
        with m.If(self.in_block):
            self._next_planes(m)
        with m.If(block_end):
            m.d.sync += self.block_out.eq(self.next_out)
        m.d.sync += self.draining.eq(
            Mux(self.in_drain, self.draining - 1, DRAIN_CYCLES + READ_LATENCY)
        )
        with m.If(drained):
            m.d.sync += self.busy.eq(0)

    def _next_planes(self, m: Module) -> None:
        """Move every source to its next plane, one after the other."""
        for index, base in enumerate(self.block_base):
            with m.If(self.move == index + 1):
                m.d.sync += base.eq(self.move_sum)
        m.d.sync += self.move.eq(self.move + 1)

    def _begin(self, m: Module) -> None:
        m.d.sync += [
            self.blocks_left.eq(self.cfg.n_blocks),
            self.source.eq(0),
            self.y_tap.eq(0),
            self.x_tap.eq(0),
            self.low.eq(0),
            self.pixel.eq(0),
            self.first_read.eq(1),
            self.block_out.eq(self.cfg.out_base),
            self.busy.eq(1),
        ]

    def _to_row_start(self, m: Module) -> None:
        m.d.sync += [
            self.columns_left.eq(self.taken.columns),
            self.both.eq(self.taken.first_both),
            self.last_column.eq(self.taken.single_column),
            self.x_row.eq(0),
        ]

    def _to_map_start(self, m: Module) -> None:
        m.d.sync += [
            self.rows_left.eq(self.taken.rows),
            self.last_row.eq(self.taken.single_row),
            self.y_row.eq(0),
        ]

    def _read(self, m: Module) -> None:
        """Issue a read and move on: plane, tap, source, pixel."""
        m.d.sync += [
            self.first_read.eq(self.last_read),
            self.low.eq(~self.last_plane),
            self.last_plane.eq(~self.last_plane | ~self.wide),
        ]
        with m.If(self.last_plane):
            self._to_column(m, first=False)
            with m.If(self.last_x_tap):
                self._to_column(m, first=True)
                self._to_tap_row(m, first=False)
                with m.If(self.last_y_tap):
                    self._to_tap_row(m, first=True)
                    self._to_source(m, self.source + 1)
        with m.If(self.last_read):
            self._to_source(m, self.held)
            self._next_step(m)

    def _look_ahead(self, m: Module) -> None:
        """Whether the next read is the last one of its result."""
        after = self.last_source & ~self.wide  # of the same source, whose next tap is one read
        with m.If(~self.last_plane):
            value = self.last_x_tap & self.last_y_tap & self.last_source
            m.d.comb += self.next_last.eq(value)
        with m.Elif(~self.last_x_tap):
            m.d.comb += self.next_last.eq(self.near_x_tap & self.last_y_tap & after)
        with m.Elif(~self.last_y_tap):
            m.d.comb += self.next_last.eq(self.taken.one_column & self.near_y_tap & after)
        with m.Elif(~self.last_source):
            m.d.comb += self.next_last.eq(self.taken.of(self.only_read, self.source + 1))
        with m.Else():
            m.d.comb += self.next_last.eq(self.taken.of(self.only_read, self.held))

    def _to_column(self, m: Module, *, first: bool) -> None:
        """To the first, or to the next column of taps."""
        last = self.taken.one_column if first else self.taken.direct | self.near_x_tap
        m.d.sync += [
            self.near_x_tap.eq(self.taken.x_near == 0 if first else self.x_tap == self.taken.x_far),
            self.x_tap.eq(0 if first else self.x_tap + 1),
            self.last_x_tap.eq(last),
        ]

    def _to_tap_row(self, m: Module, *, first: bool) -> None:
        """To the first, or to the next row of taps."""
        last = self.taken.one_row if first else self.taken.direct | self.near_y_tap
        m.d.sync += [
            self.near_y_tap.eq(self.taken.y_near == 0 if first else self.y_tap == self.taken.y_far),
            self.y_tap.eq(0 if first else self.y_tap + 1),
            self.last_y_tap.eq(last),
        ]

    def _to_source(self, m: Module, index: ValueLike) -> None:
        """To a source, or one behind an instruction's last."""
        wide = self.taken.wide(index)
        m.d.sync += [
            self.source.eq(index),
            self.last_source.eq(self.taken.is_last(index)),
            self.wide.eq(wide),
            self.last_plane.eq(~wide),
        ]

    def _next_step(self, m: Module) -> None:
        """Goes to the next output pixels: column, row, block."""
        left, both = self.columns_left, self.both
        m.d.sync += [
            self.pixel.eq(self.next_pixel),
            left.eq(left - Mux(both, 2, 1)),
            both.eq(self.taken.pair & (left != Mux(both, 3, 2))),
            self.last_column.eq(
                (left == Mux(both, 3, 2)) | (self.taken.pair & (left == Mux(both, 4, 3)))
            ),
            self.x_row.eq(self.x_row + self.taken.x_top + 1),
        ]
        with m.If(self.last_column):
            self._to_row_start(m)
            m.d.sync += [
                self.rows_left.eq(self.rows_left - 1),
                self.last_row.eq(self.rows_left == 2),
                self.y_row.eq(self.y_row + self.taken.y_top + 1),
            ]
            with m.If(self.last_row):
                self._to_map_start(m)
                m.d.sync += [
                    self.pixel.eq(0),
                    self.blocks_left.eq(self.blocks_left - 1),
                    self.move.eq(0),
                ]

    def _of_source(self, name: str) -> Value:
        """A field of the source that is read."""
        return Array(source[name] for source in self.taken.sources)[self.source]

    def _put_out(self, m: Module) -> None:
        """The read of this cycle."""
        p, issued = self.params, self.issued
        m.d.comb += [
            issued.valid.eq(self.run),
            issued.low.eq(self.low),
            issued.base.eq(Array(self.block_base)[self.source]),
            issued.low_offset.eq(self._of_source("low")),
            issued.wide.eq(self.wide),
            issued.zero.eq(self._of_source("zero")),
            issued.factor.eq(self._of_source("factor")),
            issued.still.eq(self._of_source("still") if p.activations else 0),
            issued.pixel.eq(self.pixel),
            issued.out.eq(add(m, self.block_out, self.pixel, p.banks, "vector_out")),
            issued.first_source.eq(self.source == 0),
            issued.first.eq(self.first_read),
            issued.last.eq(self.last_read),
            issued.both.eq(self.both),
        ]
