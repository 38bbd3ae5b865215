"""Vector unit: resampling, elementwise sums and products, one read of the memory per cycle.

A read returns neighbouring words, so a step computes two neighbouring output pixels where the
instruction says `pair`. For every block and output pixel: LINEAR acc = sum of weight * value over
sources and taps (weight = wy * wx from the axis tables, or the source's factor when `direct`),
MUL acc = value0 * value1. A 16-bit source takes two reads (high, low byte plane) per tap. Results
go to the exit path as CI accumulators per pixel; a 16-bit output takes two exit steps.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import (
    ADDRESS_BITS,
    ENTRY,
    ENTRY_BITS,
    HEADER_WORDS,
    MAX_SKIP,
    MAX_SOURCES,
    MAX_TABLE,
    SOURCE,
    Op,
    VectorOp,
)
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import add, constant, delay
from fpga_gen.hardware.common.config_view import Fields, header_fields
from fpga_gen.hardware.common.fan_out import KEEP, copies, copies_for, tree
from fpga_gen.hardware.common.ram import RamShape, place_ram

SOURCE_BITS = 64 * SOURCE.words
TABLE_SHAPE = RamShape(64, MAX_TABLE // 2, "block")
ADDRESS_STAGES = 5  # from the issue of a read to its address
DRAIN_CYCLES = 17  # and the memory's latency: from the last read to its result
CHANNELS_PER_COPY = 2  # channels that share one copy of their controls
VALUE_BITS = 18
WEIGHT_BITS = 18


class VectorUnit(wiring.Component):
    """See module docstring. Sources and tables are written by the sequencer while not busy.

    read_*: address to the feature-map memory; the words from there on return `read_latency`
    cycles later. result_*: to the exit path (no back-pressure there): sums and address of every
    pixel of a step; both: the second pixel is there.
    """

    def __init__(self, params: EngineParams, *, read_latency: int, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        self.read_latency = read_latency
        self.window = min(MAX_SKIP + 1, params.lanes) if params.vector_pixels == 2 else 1
        together = params.vector_pixels
        super().__init__(
            {
                "header": In(64 * HEADER_WORDS),
                "start": In(1),
                "busy": Out(1),
                "source_index": In(range(MAX_SOURCES)),
                "source_word": In(range(SOURCE.words)),
                "source_write": In(1),
                "y_write": In(1),
                "x_write": In(1),
                "table_pair": In(range(MAX_TABLE // 2)),
                "write_data": In(64),
                "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS),
                "read_data": In(self.window * params.word_bits),
                "result_valid": Out(1),
                "result_both": Out(1),
                "result_sums": Out(together * params.in_channels * ACC_BITS),
                "result_address": Out(together * ADDRESS_BITS),
                "result_high": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.cfg = header_fields(self.header, Op.VECTOR)
        self._sources(m)
        self._tables(m)
        self._issue(m)
        self._datapath(m)
        return m

    def _sources(self, m: Module) -> None:
        self.raw = [
            Signal(SOURCE_BITS, name=f"source_{i}", reset_less=True) for i in range(MAX_SOURCES)
        ]
        for index, raw in enumerate(self.raw):
            with m.If(self.source_write & (self.source_index == index)):
                m.d.sync += raw.word_select(self.source_word, 64).eq(self.write_data)

    def _tables(self, m: Module) -> None:
        self.y_index = Signal(range(MAX_TABLE))
        self.x_index = Signal(range(MAX_TABLE // 2))  # one word: both pixels of a step
        words = []
        for name, index, write in (
            ("y", self.y_index[1:], self.y_write),
            ("x", self.x_index, self.x_write),
        ):
            ram = place_ram(m, f"{name}_table", TABLE_SHAPE, expand=self.expand)
            m.d.comb += [
                ram.w_addr.eq(self.table_pair),
                ram.w_data.eq(self.write_data),
                ram.w_en.eq(write),
                ram.r_addr.eq(index),
            ]
            words.append([ram.r_data[:ENTRY_BITS], ram.r_data[ENTRY_BITS:]])
        odd = Signal(name="y_odd")
        m.d.sync += odd.eq(self.y_index[0])
        self.y_entry = Fields(Mux(odd, words[0][1], words[0][0]), ENTRY)
        self.x_entries = [Fields(word, ENTRY) for word in words[1]]

    def _take_facts(self, m: Module) -> None:
        """Facts of an instruction as registers, one cycle after `start`: the header stays while
        the unit is busy, which it is until its last result has left."""
        cfg = self.cfg

        def fact(name: str, value: Value, **attributes) -> Signal:
            register = Signal(len(value), name=name, reset_less=True, **attributes)
            m.d.sync += register.eq(value)
            return register

        self.x_top, self.y_top = (
            fact(f"{axis}_top", (taps - 1)[:7])
            for axis, taps in (("x", cfg.x_taps), ("y", cfg.y_taps))
        )
        self.source_top = fact("source_top", (cfg.n_sources - 1)[:2])
        self.direct = fact("direct", cfg.direct, attrs=KEEP)
        self.direct_address, self.direct_weight = (
            fact(f"direct_{n}", cfg.direct, attrs=KEEP) for n in ("address", "weight")
        )
        self.pair, self.out16 = fact("pair", cfg.pair), fact("out16", cfg.out16)
        self.product = fact("product", cfg.function == VectorOp.MUL)
        self.columns, self.rows = fact("columns", cfg.out_w), fact("rows", cfg.out_h)
        self.single_column = fact("single_column", (cfg.out_w == 1) | (cfg.pair & (cfg.out_w == 2)))
        self.first_both = fact("first_both", cfg.pair & (cfg.out_w != 1))
        self.single_row = fact("single_row", cfg.out_h == 1)
        self.out_plane = fact("out_plane", cfg.out_plane)
        self.out_low = fact("out_low", cfg.out_low)

    def _issue(self, m: Module) -> None:
        cfg, p = self.cfg, self.params
        self._take_facts(m)
        blocks_left, rows_left, columns_left = (
            Signal(bits, name=name, reset_less=True)
            for name, bits in (("blocks_left", 8), ("rows_left", 13), ("columns_left", 13))
        )
        last_column, both, last_row = Signal(), Signal(), Signal()  # of the current step
        source, y_tap, x_tap, low = Signal(2), Signal(7), Signal(7), Signal()
        y_row = Signal(range(MAX_TABLE), reset_less=True)
        x_row = Signal(range(MAX_TABLE // 2), reset_less=True)
        pixel = Signal(ADDRESS_BITS, reset_less=True)  # output pixel, linear from 0
        block_out = Signal(ADDRESS_BITS, reset_less=True)
        block_base = [
            Signal(ADDRESS_BITS, name=f"block_base_{i}", reset_less=True)
            for i in range(MAX_SOURCES)
        ]
        gap = Signal()
        run = Signal()
        fields = [Fields(raw, SOURCE) for raw in self.raw]
        wide = Array(f.wide for f in fields)[source]
        last_plane, last_x_tap, last_y_tap, last_read = (
            Signal(name=n) for n in ("last_plane", "last_x_tap", "last_y_tap", "last_read")
        )
        first_read = Signal(init=1)
        single = Signal()  # one read per result, but two exit steps: leave a gap
        draining = Signal(range(32))
        m.d.comb += [
            last_plane.eq(~wide | low),
            last_x_tap.eq(self.direct | (x_tap == self.x_top)),
            last_y_tap.eq(self.direct | (y_tap == self.y_top)),
            last_read.eq(last_plane & last_x_tap & last_y_tap & (source == self.source_top)),
            single.eq(first_read & last_read & self.out16),
            self.y_index.eq(y_row + y_tap),
            self.x_index.eq(x_row + x_tap),
        ]
        advance = Mux(both, constant(2, p.banks), constant(1, p.banks))
        next_pixel = add(m, pixel, advance, p.banks, "vector_next_pixel")
        next_out = add(m, block_out, self.out_plane, p.banks, "vector_next_out")
        move = Signal(range(MAX_SOURCES + 1))
        move_base, move_plane = (
            Signal(ADDRESS_BITS, name=n, reset_less=True) for n in ("move_base", "move_plane")
        )
        m.d.sync += [
            move_base.eq(Array(block_base)[move[:2]]),
            move_plane.eq(Array(f.plane for f in fields)[move[:2]]),
        ]
        move_sum = add(m, move_base, move_plane, p.banks, "vector_move")
        # One cycle after the start: the bases are too many loads for the state that starts.
        begin = copies(m, self.start & ~self.busy, copies_for(len(Cat(block_base))), "begin",
                       reset_less=False)  # fmt: skip
        for index, (base, source_fields) in enumerate(zip(block_base, fields, strict=True)):
            with m.If(begin[index * len(begin) // len(block_base)]):
                m.d.sync += base.eq(source_fields.base)
        to_row_start = [
            columns_left.eq(self.columns),
            both.eq(self.first_both),
            last_column.eq(self.single_column),
            x_row.eq(0),
        ]
        to_map_start = [rows_left.eq(self.rows), last_row.eq(self.single_row), y_row.eq(0)]
        with m.FSM(name="vector"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        blocks_left.eq(cfg.n_blocks),
                        source.eq(0),
                        y_tap.eq(0),
                        x_tap.eq(0),
                        low.eq(0),
                        pixel.eq(0),
                        first_read.eq(1),
                        block_out.eq(cfg.out_base),
                        gap.eq(0),
                        self.busy.eq(1),
                    ]
                    m.next = "SETUP"
            with m.State("SETUP"):
                m.d.sync += [*to_row_start, *to_map_start]
                m.next = "READ"
            with m.State("READ"):
                with m.If(single & ~gap):
                    m.d.sync += gap.eq(1)
                with m.Else():
                    m.d.comb += run.eq(1)
                    m.d.sync += [gap.eq(0), first_read.eq(last_read), low.eq(~last_plane)]
                    with m.If(last_plane):
                        m.d.sync += x_tap.eq(x_tap + 1)
                        with m.If(last_x_tap):
                            m.d.sync += [x_tap.eq(0), y_tap.eq(y_tap + 1)]
                            with m.If(last_y_tap):
                                m.d.sync += [y_tap.eq(0), source.eq(source + 1)]
                    with m.If(last_read):
                        m.d.sync += [
                            source.eq(0),
                            pixel.eq(next_pixel),
                            columns_left.eq(columns_left - Mux(both, 2, 1)),
                            both.eq(self.pair & (columns_left != Mux(both, 3, 2))),
                            last_column.eq(
                                (columns_left == Mux(both, 3, 2))
                                | (self.pair & (columns_left == Mux(both, 4, 3)))
                            ),
                            x_row.eq(x_row + self.x_top + 1),
                        ]
                        with m.If(last_column):
                            m.d.sync += [
                                *to_row_start,
                                rows_left.eq(rows_left - 1),
                                last_row.eq(rows_left == 2),
                                y_row.eq(y_row + self.y_top + 1),
                            ]
                            with m.If(last_row):
                                m.d.sync += [
                                    *to_map_start,
                                    pixel.eq(0),
                                    blocks_left.eq(blocks_left - 1),
                                    move.eq(0),
                                    draining.eq(DRAIN_CYCLES + self.read_latency),
                                ]
                                m.next = "BLOCK"
                                with m.If(blocks_left == 1):
                                    m.next = "DRAIN"
            with m.State("BLOCK"):  # move every source to its next plane
                for index, base in enumerate(block_base):
                    with m.If(move == index + 1):
                        m.d.sync += base.eq(move_sum)
                m.d.sync += move.eq(move + 1)
                with m.If(move == MAX_SOURCES):
                    m.d.sync += block_out.eq(next_out)
                    m.next = "READ"
            with m.State("DRAIN"):
                m.d.sync += draining.eq(draining - 1)
                with m.If(draining == 0):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
        self.run, self.low, self.wide, self.source = run, low, wide, source
        self.first_read, self.last_read, self.both_now = first_read, last_read, both
        self._address(m, pixel, block_base, block_out, fields)

    def _address(self, m: Module, pixel, block_base, block_out, fields) -> None:
        """Five stages: table words, entries, + y, + x, + byte plane."""
        p, source, low, wide = self.params, self.source, self.low, self.wide
        base = delay(m, Array(block_base)[source], 2, "base")
        pixel_2 = delay(m, pixel, 2, "pixel")
        low_4 = delay(m, Mux(low, Array(f.low for f in fields)[source], 0), 4, "low")
        y_address = Signal(ADDRESS_BITS, reset_less=True)
        x_address = Signal(ADDRESS_BITS, reset_less=True)
        y_weight = Signal(8, reset_less=True)
        sum_3 = Signal(ADDRESS_BITS, reset_less=True)
        sum_4 = Signal(ADDRESS_BITS, reset_less=True)
        sum_5 = Signal(ADDRESS_BITS, reset_less=True)
        m.d.sync += [
            y_address.eq(Mux(self.direct_address, 0, self.y_entry.address)),
            x_address.eq(self.x_entries[0].address),
            y_weight.eq(self.y_entry.weight),
            sum_3.eq(add(m, base, y_address, p.banks, "vector_y")),
            sum_5.eq(add(m, sum_4, low_4, p.banks, "vector_low")),
        ]
        x_3 = delay(m, Mux(self.direct_address, pixel_2, x_address), 1, "x_address")
        m.d.sync += sum_4.eq(add(m, sum_3, x_3, p.banks, "vector_x"))
        m.d.comb += [
            self.read_address.eq(sum_5),
            self.read_valid.eq(delay(m, self.run, ADDRESS_STAGES, "read_valid", reset_less=False)),
        ]
        lag = ADDRESS_STAGES + self.read_latency  # from issue to the word
        factor = delay(m, Array(f.factor for f in fields)[source], 3, "factor").as_signed()
        self.weights = []
        for index in range(p.vector_pixels):
            x_weight = delay(m, self.x_entries[index].weight, 1, f"x_weight_{index}")
            table = delay(m, y_weight * x_weight, 1, f"weight_{index}")
            weight = Mux(self.direct_weight, factor, table)
            self.weights.append(delay(m, weight, lag - 3, f"weights_{index}").as_signed())
        skip = Mux(self.direct_weight, 1, self.x_entries[1].address[: MAX_SKIP.bit_length()])
        self.skip = delay(m, skip, lag - 2, "skip")
        # Controls come one stage early: the last one is a register per few channels.
        early = lag - 1
        self.high_plane = delay(m, wide & ~low, early, "high_plane")
        plus = Mux(wide, low, Array(f.zero for f in fields)[source])
        self.plus = delay(m, plus, early, "plus")
        self.second = delay(m, self.product & (source != 0), lag, "second")
        self.operand = delay(m, self.product & (source == 0), lag, "operand")
        self.operand_first = delay(m, ~low, lag, "operand_first")
        is_first = Mux(self.product, (source != 0) & ~low, self.first_read)
        self.first = delay(m, is_first, lag, "first")
        self.valid = delay(m, self.run, lag, "valid", reset_less=False)
        self.last = delay(m, self.run & self.last_read, lag, "last")
        self.both = delay(m, self.both_now, lag, "both")
        out_address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.sync += out_address.eq(add(m, block_out, pixel, p.banks, "vector_out"))
        self.out_address = delay(m, out_address, lag - 1, "out_address")

    def _datapath(self, m: Module) -> None:
        """Word, value, product and sum registers; their controls in copies, see fan_out."""
        p = self.params
        channels = p.vector_pixels * p.in_channels
        groups = -(-channels // CHANNELS_PER_COPY)

        def copied(value, name: str, reset_less: bool = True) -> list:
            return tree(m, value, [groups], name, reset_less=reset_less)

        high_plane, plus = copied(self.high_plane, "high_copy"), copied(self.plus, "plus_copy")
        skip = tree(m, self.skip, [copies_for(p.word_bits)], "skip_copy")
        operand_now = self.valid & self.operand
        sum_now = self.valid & ~self.operand
        second = copied(self.second, "second_copy")
        take = copied(operand_now, "operand_copy", False)
        take_first = copied(self.operand_first, "operand_first_copy")
        add_up = [
            delay(m, v, 1, f"sum_now_{k}") for k, v in enumerate(copied(sum_now, "sum", False))
        ]
        first = [delay(m, v, 1, f"first_{k}") for k, v in enumerate(copied(self.first, "first"))]
        weights = [
            delay(m, weight, 1, f"value_weight_{index}").as_signed()
            for index, weight in enumerate(self.weights)
        ]
        word = [self.read_data[8 * k : 8 * k + 8] for k in range(p.in_channels)]
        if p.vector_pixels == 2:
            for k in range(p.in_channels):
                options = [
                    self.read_data[n * p.word_bits + 8 * k :][:8] for n in range(self.window)
                ]
                word.append(Array(options)[skip[k * len(skip) // p.in_channels]])
        sums = []
        for channel, byte in enumerate(word):
            copy = channel // CHANNELS_PER_COPY
            byte = byte.as_signed()
            value = Signal(signed(VALUE_BITS), name=f"value_{channel}", reset_less=True)
            operand = Signal(signed(VALUE_BITS), name=f"operand_{channel}", reset_less=True)
            product = Signal(signed(ACC_BITS), name=f"product_{channel}", reset_less=True)
            acc = Signal(signed(ACC_BITS), name=f"sum_{channel}", reset_less=True)
            weight = weights[channel // p.in_channels]
            m.d.sync += [
                value.eq(Mux(high_plane[copy], byte << 8, byte + Mux(plus[copy], 128, 0))),
                product.eq(value * Mux(second[copy], operand, weight)),
            ]
            with m.If(take[copy]):
                m.d.sync += operand.eq(Mux(take_first[copy], value, operand + value))
            with m.If(add_up[copy]):
                m.d.sync += acc.eq(Mux(first[copy], product, acc + product))
            sums.append(acc)
        done = delay(m, self.last, 3, "done", reset_less=False)
        low_step = delay(m, done & self.out16, 1, "low_step", reset_less=False)
        low_steps = tree(m, done & self.out16, [copies_for(channels * ACC_BITS)], "low_copy")
        both = delay(m, self.both, 3, "done_both")
        for channel, acc in enumerate(sums):
            held = delay(m, acc, 1, f"held_{channel}")  # the next result may be under way
            low = low_steps[channel * len(low_steps) // channels]
            m.d.comb += self.result_sums.word_select(channel, ACC_BITS).eq(Mux(low, held, acc))
        m.d.comb += [
            self.result_valid.eq(done | low_step),
            self.result_high.eq(done & self.out16),
            self.result_both.eq(Mux(low_step, delay(m, both, 1, "low_both"), both)),
        ]
        for index in range(p.vector_pixels):
            address = delay(m, self.out_address, 2, f"product_address_{index}")
            if index:
                address = add(m, address, constant(index, p.banks), p.banks, f"pixel_{index}")
            address = delay(m, address, 1, f"done_address_{index}")
            low_sum = add(m, address, self.out_low, p.banks, f"vector_low_{index}")
            low_address = delay(m, low_sum, 1, f"low_address_{index}")
            m.d.comb += self.result_address.word_select(index, ADDRESS_BITS).eq(
                Mux(low_step, low_address, address)
            )
