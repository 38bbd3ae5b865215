"""Walk of the vector unit: which word of which source is read next, and what it is for.

One read a cycle: byte planes, taps of a row, rows of taps, sources, output pixels, blocks. A read
is issued, and five stages later its address is known: table words, entries, + y, + x, + byte plane.
"""

from __future__ import annotations

from amaranth.hdl import Array, Module, Mux, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.fields import WORD_BITS
from fpga_gen.contract.isa import ADDRESS_BITS, MAX_SOURCES, MAX_TABLE, VectorOp, width
from fpga_gen.contract.latencies import READ_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, constant, delay
from fpga_gen.hardware.common.fan_out import KEEP, copies, copies_for
from fpga_gen.hardware.common.joints import Issue, TableWrite
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.common.records import SOURCE_RECORD, TABLE_ENTRY
from fpga_gen.hardware.results.vector_term import term_layout

TABLE_SHAPE = RamShape(WORD_BITS, MAX_TABLE // 2, "block")
ADDRESS_STAGES = 5  # from the issue of a read to its address
WORD_LATENCY = ADDRESS_STAGES + READ_LATENCY  # from the issue of a read to its word
DRAIN_CYCLES = 17  # and the memory's latency: from the last read to its result


class VectorWalk(wiring.Component):
    """See module docstring.

    Members:
        issue: start of a VECTOR. tables: its sources and tables, written while not busy.
        busy: Out, from the start until the last result has left.
        read_valid, read_address: Out, to the feature-map memory.
        term: Out, with the word. out16, out_low: Out, facts of the results.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "issue": In(Issue()),
                "tables": In(TableWrite()),
                "busy": Out(1),
                "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "term": Out(term_layout(params)),
                "out16": Out(1),
                "out_low": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.cfg = self.issue.header.vector
        self._sources(m)
        self._tables(m)
        self._take_facts(m)
        self._counters(m)
        self._blocks(m)
        self._machine(m)
        self._address(m)
        self._term(m)
        return m

    def _sources(self, m: Module) -> None:
        write = self.tables
        self.sources = [
            Signal(SOURCE_RECORD, name=f"source_{i}", reset_less=True) for i in range(MAX_SOURCES)
        ]
        for index, source in enumerate(self.sources):
            with m.If(write.source_write & (write.source == index)):
                m.d.sync += source.as_value().word_select(write.part, WORD_BITS).eq(write.word)

    def _tables(self, m: Module) -> None:
        self.y_index = Signal(range(MAX_TABLE))
        self.x_index = Signal(range(MAX_TABLE // 2))  # one word: both pixels of a step
        words = []
        for name, index, write in (
            ("y", self.y_index[1:], self.tables.y_write),
            ("x", self.x_index, self.tables.x_write),
        ):
            ram = place_ram(m, f"{name}_table", TABLE_SHAPE, expand=self.expand)
            m.d.comb += [
                ram.w_addr.eq(self.tables.pair),
                ram.w_data.eq(self.tables.word),
                ram.w_en.eq(write),
                ram.r_addr.eq(index),
            ]
            words.append([ram.r_data[: TABLE_ENTRY.size], ram.r_data[TABLE_ENTRY.size :]])
        odd = Signal(name="y_odd")
        m.d.sync += odd.eq(self.y_index[0])
        self.y_entry = TABLE_ENTRY(Mux(odd, words[0][1], words[0][0]))
        self.x_entries = [TABLE_ENTRY(word) for word in words[1]]

    def _take_facts(self, m: Module) -> None:
        """Facts of an instruction as registers, one cycle after `start`: the header stays while
        the unit is busy."""
        cfg = self.cfg

        def fact(name: str, value: Value, **attributes) -> Signal:
            register = Signal(len(value), name=name, reset_less=True, **attributes)
            m.d.sync += register.eq(value)
            return register

        self.x_top, self.y_top = (
            fact(f"{axis}_top", (taps - 1)[: len(taps)])
            for axis, taps in (("x", cfg.x_taps), ("y", cfg.y_taps))
        )
        self.source_top = fact("source_top", (cfg.n_sources - 1)[: (MAX_SOURCES - 1).bit_length()])
        self.direct = fact("direct", cfg.direct, attrs=KEEP)
        self.direct_address, self.direct_weight = (
            fact(f"direct_{n}", cfg.direct, attrs=KEEP) for n in ("address", "weight")
        )
        self.pair = fact("pair", cfg.pair)
        self.product = fact("product", cfg.function == VectorOp.MUL)
        self.columns, self.rows = fact("columns", cfg.out_w), fact("rows", cfg.out_h)
        self.single_column = fact("single_column", (cfg.out_w == 1) | (cfg.pair & (cfg.out_w == 2)))
        self.first_both = fact("first_both", cfg.pair & (cfg.out_w != 1))
        self.single_row = fact("single_row", cfg.out_h == 1)
        self.out_plane = fact("out_plane", cfg.out_plane)
        m.d.comb += [
            self.out16.eq(fact("out16_fact", cfg.out16)),
            self.out_low.eq(fact("out_low_fact", cfg.out_low)),
        ]

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
            Signal(width(f"{axis}_taps"), name=f"{axis}_tap") for axis in "yx"
        )
        self.low = Signal()
        self.y_row = Signal(range(MAX_TABLE), reset_less=True)
        self.x_row = Signal(range(MAX_TABLE // 2), reset_less=True)
        self.run = Signal()  # a read is issued
        self.gap = Signal()
        self.wide = Array(s.wide for s in self.sources)[self.source]
        self.last_plane, self.last_x_tap, self.last_y_tap, self.last_read = (
            Signal(name=n) for n in ("last_plane", "last_x_tap", "last_y_tap", "last_read")
        )
        self.first_read = Signal(init=1)
        self.single = Signal()  # one read per result, but two exit steps: leave a gap
        self.draining = Signal(range(32))
        m.d.comb += [
            self.last_plane.eq(~self.wide | self.low),
            self.last_x_tap.eq(self.direct | (self.x_tap == self.x_top)),
            self.last_y_tap.eq(self.direct | (self.y_tap == self.y_top)),
            self.last_read.eq(
                self.last_plane
                & self.last_x_tap
                & self.last_y_tap
                & (self.source == self.source_top)
            ),
            self.single.eq(self.first_read & self.last_read & self.out16),
            self.y_index.eq(self.y_row + self.y_tap),
            self.x_index.eq(self.x_row + self.x_tap),
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
        self.next_out = add(m, self.block_out, self.out_plane, p.banks, "vector_next_out")
        self.move = Signal(range(MAX_SOURCES + 1))
        move_base, move_plane = (
            Signal(ADDRESS_BITS, name=n, reset_less=True) for n in ("move_base", "move_plane")
        )
        moved = self.move[: len(self.source)]
        m.d.sync += [
            move_base.eq(Array(self.block_base)[moved]),
            move_plane.eq(Array(s.plane for s in self.sources)[moved]),
        ]
        self.move_sum = add(m, move_base, move_plane, p.banks, "vector_move")
        # One cycle after the start: the bases are too many loads for the state that starts.
        loads = MAX_SOURCES * ADDRESS_BITS
        begin = copies(m, self.issue.start & ~self.busy, copies_for(loads), "begin",
                       reset_less=False)  # fmt: skip
        for index, (base, source) in enumerate(zip(self.block_base, self.sources, strict=True)):
            with m.If(begin[index * len(begin) // MAX_SOURCES]):
                m.d.sync += base.eq(source.base)

    def _machine(self, m: Module) -> None:
        with m.FSM(name="vector"):
            with m.State("IDLE"):
                with m.If(self.issue.start):
                    self._begin(m)
                    m.next = "SETUP"
            with m.State("SETUP"):
                self._to_row_start(m)
                self._to_map_start(m)
                m.next = "READ"
            with m.State("READ"):
                with m.If(self.single & ~self.gap):
                    m.d.sync += self.gap.eq(1)
                with m.Else():
                    self._read(m)
            with m.State("BLOCK"):  # move every source to its next plane
                for index, base in enumerate(self.block_base):
                    with m.If(self.move == index + 1):
                        m.d.sync += base.eq(self.move_sum)
                m.d.sync += self.move.eq(self.move + 1)
                with m.If(self.move == MAX_SOURCES):
                    m.d.sync += self.block_out.eq(self.next_out)
                    m.next = "READ"
            with m.State("DRAIN"):
                m.d.sync += self.draining.eq(self.draining - 1)
                with m.If(self.draining == 0):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"

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
            self.gap.eq(0),
            self.busy.eq(1),
        ]

    def _to_row_start(self, m: Module) -> None:
        m.d.sync += [
            self.columns_left.eq(self.columns),
            self.both.eq(self.first_both),
            self.last_column.eq(self.single_column),
            self.x_row.eq(0),
        ]

    def _to_map_start(self, m: Module) -> None:
        m.d.sync += [
            self.rows_left.eq(self.rows),
            self.last_row.eq(self.single_row),
            self.y_row.eq(0),
        ]

    def _read(self, m: Module) -> None:
        """Issue a read and move on: plane, tap, source, pixel."""
        m.d.comb += self.run.eq(1)
        m.d.sync += [
            self.gap.eq(0),
            self.first_read.eq(self.last_read),
            self.low.eq(~self.last_plane),
        ]
        with m.If(self.last_plane):
            m.d.sync += self.x_tap.eq(self.x_tap + 1)
            with m.If(self.last_x_tap):
                m.d.sync += [self.x_tap.eq(0), self.y_tap.eq(self.y_tap + 1)]
                with m.If(self.last_y_tap):
                    m.d.sync += [self.y_tap.eq(0), self.source.eq(self.source + 1)]
        with m.If(self.last_read):
            m.d.sync += self.source.eq(0)
            self._next_step(m)

    def _next_step(self, m: Module) -> None:
        """To the next output pixels: column, row, block."""
        left, both = self.columns_left, self.both
        m.d.sync += [
            self.pixel.eq(self.next_pixel),
            left.eq(left - Mux(both, 2, 1)),
            both.eq(self.pair & (left != Mux(both, 3, 2))),
            self.last_column.eq(
                (left == Mux(both, 3, 2)) | (self.pair & (left == Mux(both, 4, 3)))
            ),
            self.x_row.eq(self.x_row + self.x_top + 1),
        ]
        with m.If(self.last_column):
            self._to_row_start(m)
            m.d.sync += [
                self.rows_left.eq(self.rows_left - 1),
                self.last_row.eq(self.rows_left == 2),
                self.y_row.eq(self.y_row + self.y_top + 1),
            ]
            with m.If(self.last_row):
                self._to_map_start(m)
                m.d.sync += [
                    self.pixel.eq(0),
                    self.blocks_left.eq(self.blocks_left - 1),
                    self.move.eq(0),
                    self.draining.eq(DRAIN_CYCLES + READ_LATENCY),
                ]
                m.next = "BLOCK"
                with m.If(self.blocks_left == 1):
                    m.next = "DRAIN"

    def _of_source(self, name: str) -> Value:
        """A field of the source that is read."""
        return Array(source[name] for source in self.sources)[self.source]

    def _address(self, m: Module) -> None:
        """Address of the read that was issued ADDRESS_STAGES cycles ago."""
        p = self.params
        base = delay(m, Array(self.block_base)[self.source], 2, "base")
        pixel_2 = delay(m, self.pixel, 2, "pixel")
        low_4 = delay(m, Mux(self.low, self._of_source("low"), 0), 4, "low")
        y_address, x_address, sum_3, sum_4, sum_5 = (
            Signal(ADDRESS_BITS, name=n, reset_less=True)
            for n in ("y_address", "x_address", "sum_3", "sum_4", "sum_5")
        )
        m.d.sync += [
            y_address.eq(Mux(self.direct_address, 0, self.y_entry.address)),
            x_address.eq(self.x_entries[0].address),
            sum_3.eq(add(m, base, y_address, p.banks, "vector_y")),
            sum_5.eq(add(m, sum_4, low_4, p.banks, "vector_low")),
        ]
        x_3 = delay(m, Mux(self.direct_address, pixel_2, x_address), 1, "x_address")
        m.d.sync += sum_4.eq(add(m, sum_3, x_3, p.banks, "vector_x"))
        m.d.comb += [
            self.read_address.eq(sum_5),
            self.read_valid.eq(delay(m, self.run, ADDRESS_STAGES, "read_valid", reset_less=False)),
        ]

    def _term(self, m: Module) -> None:
        """What the read is for, when its word is there."""
        p, lag, source, low = self.params, WORD_LATENCY, self.source, self.low
        y_weight = Signal(width("weight"), reset_less=True)
        m.d.sync += y_weight.eq(self.y_entry.weight)
        factor = delay(m, self._of_source("factor"), 3, "factor").as_signed()
        for index in range(p.vector_pixels):
            x_weight = delay(m, self.x_entries[index].weight, 1, f"x_weight_{index}")
            table = delay(m, y_weight * x_weight, 1, f"weight_{index}")
            weight = Mux(self.direct_weight, factor, table)
            m.d.comb += self.term.weights[index].eq(delay(m, weight, lag - 3, f"weights_{index}"))
        skip = Mux(self.direct_weight, 1, self.x_entries[1].address[: len(self.term.skip)])
        first = Mux(self.product, (source != 0) & ~low, self.first_read)
        out_address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.sync += out_address.eq(add(m, self.block_out, self.pixel, p.banks, "vector_out"))
        # A cycle early: their last register is one per few channels.
        plus = Mux(self.wide, low, self._of_source("zero"))
        late: dict[str, tuple[ValueLike, int]] = {
            "valid": (self.run, lag),
            "skip": (skip, lag - 2),
            "operand": (self.product & (source == 0), lag),
            "operand_first": (~low, lag),
            "second": (self.product & (source != 0), lag),
            "first": (first, lag),
            "last": (self.run & self.last_read, lag),
            "both": (self.both, lag),
            "address": (out_address, lag - 1),
            "high_plane": (self.wide & ~low, lag - 1),
            "plus": (plus, lag - 1),
        }
        m.d.comb += [
            self.term[name].eq(delay(m, value, cycles, name, reset_less=name != "valid"))
            for name, (value, cycles) in late.items()
        ]
