"""Vector unit: resampling, elementwise sums and products, one read of the memory per cycle.

A read returns neighbouring words, so a step computes two neighbouring output pixels where the
instruction says `pair`. For every block and output pixel: LINEAR acc = sum of weight * value over
sources and taps (weight = wy * wx from the axis tables, or the source's factor when `direct`),
MUL acc = value0 * value1. A 16-bit source takes two reads (high, low byte plane) per tap. Results
go to the exit path as CI accumulators per pixel; a 16-bit output takes two exit steps.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.address import add, constant, delay
from fpga_gen.hardware.config_view import Fields, header_fields
from fpga_gen.hardware.params import EngineParams
from fpga_gen.hardware.ram import RamShape, place_ram
from fpga_gen.isa import (
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
    words_of,
)
from fpga_gen.quant.numerics import ACC_BITS

SOURCE_BITS = 64 * words_of(SOURCE)
TABLE_SHAPE = RamShape(64, MAX_TABLE // 2, "block")
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
                "source_word": In(range(words_of(SOURCE))),
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
        self.raw = [Signal(SOURCE_BITS, name=f"source_{i}") for i in range(MAX_SOURCES)]
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

    def _issue(self, m: Module) -> None:
        cfg, p = self.cfg, self.params
        block, rows_left, columns_left = Signal(8), Signal(13), Signal(13)
        source, y_tap, x_tap, low = Signal(3), Signal(7), Signal(7), Signal()
        y_row, x_row = Signal(range(MAX_TABLE)), Signal(range(MAX_TABLE // 2))
        pixel = Signal(ADDRESS_BITS)  # output pixel, linear from 0
        block_out = Signal(ADDRESS_BITS)
        block_base = [Signal(ADDRESS_BITS, name=f"block_base_{i}") for i in range(MAX_SOURCES)]
        gap = Signal()
        run = Signal()
        fields = [Fields(raw, SOURCE) for raw in self.raw]
        wide = Array(f.wide for f in fields)[source]
        last_plane = ~wide | low
        last_x_tap = cfg.direct | (x_tap == cfg.x_taps - 1)
        last_y_tap = cfg.direct | (y_tap == cfg.y_taps - 1)
        last_source = source == cfg.n_sources - 1
        last_read, last_pixel = Signal(name="last_read"), Signal(name="last_pixel")
        last_column, both = Signal(), Signal()
        first_read = Signal(init=1)
        single = Signal()  # one read per result, but two exit steps: leave a gap
        draining = Signal(range(32))
        m.d.comb += [
            last_read.eq(last_plane & last_x_tap & last_y_tap & last_source),
            both.eq(cfg.pair & (columns_left != 1)),
            last_column.eq((columns_left == 1) | (both & (columns_left == 2))),
            last_pixel.eq(last_column & (rows_left == 1)),
            single.eq(first_read & last_read & cfg.out16),
            self.y_index.eq(y_row + y_tap),
            self.x_index.eq(x_row + x_tap),
        ]
        advance = Mux(both, constant(2, p.banks), constant(1, p.banks))
        next_pixel = add(m, pixel, advance, p.banks, "vector_next_pixel")
        next_out = add(m, block_out, cfg.out_plane, p.banks, "vector_next_out")
        move = Signal(range(MAX_SOURCES + 1))
        move_sum = add(
            m, Array(block_base)[move], Array(f.plane for f in fields)[move], p.banks, "vector_move"
        )
        with m.FSM(name="vector"):
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        block.eq(0),
                        rows_left.eq(cfg.out_h),
                        columns_left.eq(cfg.out_w),
                        source.eq(0),
                        y_tap.eq(0),
                        x_tap.eq(0),
                        low.eq(0),
                        y_row.eq(0),
                        x_row.eq(0),
                        pixel.eq(0),
                        first_read.eq(1),
                        block_out.eq(cfg.out_base),
                        gap.eq(0),
                        self.busy.eq(1),
                    ]
                    m.d.sync += [b.eq(f.base) for b, f in zip(block_base, fields, strict=True)]
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
                            x_row.eq(x_row + cfg.x_taps),
                        ]
                        with m.If(last_column):
                            m.d.sync += [
                                columns_left.eq(cfg.out_w),
                                x_row.eq(0),
                                rows_left.eq(rows_left - 1),
                                y_row.eq(y_row + cfg.y_taps),
                            ]
                        with m.If(last_pixel):
                            m.d.sync += [
                                rows_left.eq(cfg.out_h),
                                y_row.eq(0),
                                pixel.eq(0),
                                block.eq(block + 1),
                                move.eq(0),
                                draining.eq(16 + self.read_latency),
                            ]
                            m.next = "BLOCK"
            with m.State("BLOCK"):  # move every source to its next plane
                with m.If(block == cfg.n_blocks):  # already counted up
                    m.next = "DRAIN"
                with m.Else():
                    for index, base in enumerate(block_base):
                        with m.If(move == index):
                            m.d.sync += base.eq(move_sum)
                    m.d.sync += move.eq(move + 1)
                    with m.If(move == MAX_SOURCES - 1):
                        m.d.sync += block_out.eq(next_out)
                        m.next = "READ"
            with m.State("DRAIN"):
                m.d.sync += draining.eq(draining - 1)
                with m.If(draining == 0):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
        lag = 4 + self.read_latency  # from issue to the word
        self.both = delay(m, both, lag, "both")
        self._address(
            m, run, source, low, pixel, block_base, block_out, fields, last_read, first_read, wide
        )

    def _address(
        self, m, run, source, low, pixel, block_base, block_out, fields, last_read, first_read, wide
    ) -> None:
        """Four stages: table entries, + y, + x, + byte plane."""
        cfg, p = self.cfg, self.params
        base_1 = delay(m, Array(block_base)[source], 1, "base")
        pixel_1 = delay(m, pixel, 1, "pixel")
        low_1 = delay(m, Mux(low, Array(f.low for f in fields)[source], 0), 3, "low")
        sum_2 = Signal(ADDRESS_BITS, reset_less=True)
        x_2 = Signal(ADDRESS_BITS, reset_less=True)
        sum_3 = Signal(ADDRESS_BITS, reset_less=True)
        sum_4 = Signal(ADDRESS_BITS, reset_less=True)
        y_address = Mux(cfg.direct, 0, self.y_entry.address)
        m.d.sync += [
            sum_2.eq(add(m, base_1, y_address, p.banks, "vector_y")),
            x_2.eq(Mux(cfg.direct, pixel_1, self.x_entries[0].address)),
            sum_3.eq(add(m, sum_2, x_2, p.banks, "vector_x")),
            sum_4.eq(add(m, sum_3, low_1, p.banks, "vector_low")),
        ]
        m.d.comb += [
            self.read_address.eq(sum_4),
            self.read_valid.eq(delay(m, run, 4, "read_valid", reset_less=False)),
        ]
        lag = 4 + self.read_latency
        factor = Array(f.factor for f in fields)[source]
        factor_1 = delay(m, factor, 1, "factor").as_signed()
        self.weights = []
        for index in range(p.vector_pixels):
            weight_2 = Signal(signed(WEIGHT_BITS), name=f"weight_2_{index}", reset_less=True)
            table = self.y_entry.weight * self.x_entries[index].weight
            m.d.sync += weight_2.eq(Mux(cfg.direct, factor_1, table))
            self.weights.append(delay(m, weight_2, lag - 2, f"weight_{index}").as_signed())
        skip = Mux(cfg.direct, 1, self.x_entries[1].address[: MAX_SKIP.bit_length()])
        self.skip = delay(m, skip, lag - 1, "skip")
        self.high_plane = delay(m, wide & ~low, lag, "high_plane")
        plus = Mux(wide, low, Array(f.zero for f in fields)[source])
        self.plus = delay(m, plus, lag, "plus")
        self.second = delay(m, (cfg.function == VectorOp.MUL) & (source != 0), lag, "second")
        self.operand = delay(m, (cfg.function == VectorOp.MUL) & (source == 0), lag, "operand")
        self.operand_first = delay(m, ~low, lag, "operand_first")
        is_first = Mux(cfg.function == VectorOp.MUL, (source != 0) & ~low, first_read)
        self.first = delay(m, is_first, lag, "first")
        self.valid = delay(m, run, lag, "valid", reset_less=False)
        self.last = delay(m, run & last_read, lag, "last", reset_less=False)
        out_address = Signal(ADDRESS_BITS, reset_less=True)
        m.d.sync += out_address.eq(add(m, block_out, pixel, p.banks, "vector_out"))
        self.out_address = delay(m, out_address, lag - 1, "out_address")

    def _datapath(self, m: Module) -> None:
        cfg, p = self.cfg, self.params
        # Value stage.
        stage = {
            k: delay(m, getattr(self, k), 1, f"value_{k}", reset_less=k not in ("valid", "last"))
            for k in ("second", "operand", "operand_first", "first", "valid", "last", "out_address")
        }
        weights = [
            delay(m, weight, 1, f"value_weight_{index}").as_signed()
            for index, weight in enumerate(self.weights)
        ]
        # Product stage.
        product_stage = {
            k: delay(m, stage[k], 1, f"product_{k}", reset_less=k not in ("valid", "last"))
            for k in ("operand", "first", "valid", "last", "out_address")
        }
        bytes_ = self.read_data[: p.word_bits]
        if p.vector_pixels == 2:
            bytes_ = Cat(bytes_, self.read_data.word_select(self.skip, p.word_bits))
        sums = []
        for channel in range(p.vector_pixels * p.in_channels):
            byte = bytes_[8 * channel : 8 * channel + 8].as_signed()
            value = Signal(signed(VALUE_BITS), name=f"value_{channel}", reset_less=True)
            operand = Signal(signed(VALUE_BITS), name=f"operand_{channel}", reset_less=True)
            product = Signal(signed(ACC_BITS), name=f"product_{channel}", reset_less=True)
            acc = Signal(signed(ACC_BITS), name=f"sum_{channel}", reset_less=True)
            weight = weights[channel // p.in_channels]
            m.d.sync += [
                value.eq(Mux(self.high_plane, byte << 8, byte + Mux(self.plus, 128, 0))),
                product.eq(value * Mux(stage["second"], operand, weight)),
            ]
            with m.If(stage["valid"] & stage["operand"]):
                m.d.sync += operand.eq(Mux(stage["operand_first"], value, operand + value))
            with m.If(product_stage["valid"] & ~product_stage["operand"]):
                m.d.sync += acc.eq(Mux(product_stage["first"], product, acc + product))
            sums.append(acc)
        done = delay(m, product_stage["last"], 1, "done", reset_less=False)
        low_step = delay(m, done & cfg.out16, 1, "low_step", reset_less=False)
        both = delay(m, self.both, 3, "done_both")
        for channel, acc in enumerate(sums):
            held = delay(m, acc, 1, f"held_{channel}")  # the next result may be under way
            m.d.comb += self.result_sums.word_select(channel, ACC_BITS).eq(Mux(low_step, held, acc))
        m.d.comb += [
            self.result_valid.eq(done | low_step),
            self.result_high.eq(done & cfg.out16),
            self.result_both.eq(Mux(low_step, delay(m, both, 1, "low_both"), both)),
        ]
        for index in range(p.vector_pixels):
            address = product_stage["out_address"]
            if index:
                address = add(m, address, constant(index, p.banks), p.banks, f"pixel_{index}")
            address = delay(m, address, 1, f"done_address_{index}")
            low_sum = add(m, address, cfg.out_low, p.banks, f"vector_low_{index}")
            low_address = delay(m, low_sum, 1, f"low_address_{index}")
            m.d.comb += self.result_address.word_select(index, ADDRESS_BITS).eq(
                Mux(low_step, low_address, address)
            )
