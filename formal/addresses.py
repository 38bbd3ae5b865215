"""Address arithmetic: pairs of (row, bank) against linear numbers, banks and rotation, regions."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.contract.address import ADDRESS_BITS, BANK_BITS, ROW_BITS, pack_address
from fpga_gen.contract.isa import width
from fpga_gen.contract.latencies import READ_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common import address
from fpga_gen.hardware.memory import feature_memory
from fpga_gen.hardware.shell import translate
from fpga_gen.hardware.shell.axi_burst import TRANSFER
from fpga_gen.hardware.shell.axi_names import BEAT_ADDRESS_BITS

BANKS = (2, 3, 8, 12, 16, 24, 32, 48, 60, 63)  # powers of two and others, the extremes


class Sums(wiring.Component):
    """`total` = a + b for one number of banks."""

    def __init__(self, banks: int) -> None:
        self.banks = banks
        super().__init__({"a": In(ADDRESS_BITS), "b": In(ADDRESS_BITS), "total": Out(ADDRESS_BITS)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.comb += self.total.eq(address.add(m, self.a, self.b, self.banks, "sum"))
        return m


def bank(code: Value) -> Value:
    """The bank of an address, with the bits that are 0."""
    return code[:BANK_BITS]


class AllSums(wiring.Component):
    """One adder for each number of banks."""

    def __init__(self) -> None:
        self.sums = [Sums(banks) for banks in BANKS]
        super().__init__({"a": In(ADDRESS_BITS), "b": In(ADDRESS_BITS)})

    def elaborate(self, platform) -> Module:
        m = Module()
        for n, part in enumerate(self.sums):
            m.submodules[f"sum_{n}"] = part
            m.d.comb += [part.a.eq(self.a), part.b.eq(self.b)]
        return m


def add() -> Bench:
    dut = AllSums()
    b = Bench(dut)
    row = address.row_of
    for part in dut.sums:
        banks = part.banks
        legal = (bank(dut.a) < banks) & (bank(dut.b) < banks)
        # Digit by digit, carry included: banks * row + bank of the sum is then the sum of the two.
        carry = Signal(name=f"carry_{banks}")
        digits = bank(dut.a) + bank(dut.b)
        b.m.d.comb += carry.eq(digits >= banks)
        b.prove(
            ~legal | (bank(part.total) + Mux(carry, banks, 0) == digits), f"{banks} banks: the bank"
        )
        b.prove(
            ~legal | (row(part.total) == (row(dut.a) + row(dut.b) + carry)[:ROW_BITS]),
            f"{banks} banks: the row",
        )
        b.prove(~legal | (bank(part.total) < banks), f"{banks} banks: no bank")
    for number in (0, 1, 59, 60, 61, 1000):
        code = address.constant(number, 60)
        assert code.value == pack_address(number, 60)
    b.cover((dut.a == Const(5)) & (dut.b == Const(7)), "a sum")
    return b


MEMORY = EngineParams(
    pixels=2, in_channels=4, dsp_columns=4, sp2_columns=4, modes=(1, 2), tile_groups=16,
    bank_rows=1024, ports=1, weight_words=512, program_words=2048,
)  # fmt: skip


class Echo(wiring.Component):
    """In the place of a bank: its word is where it lies, row and bank, as late as a bank's."""

    def __init__(self, shape, index: int) -> None:
        self.shape, self.index = shape, index
        super().__init__(shape.signature)

    def elaborate(self, platform) -> Module:
        m = Module()
        value = Cat(Const(self.index, BANK_BITS), self.r_addr)
        for stage in range(self.shape.read_latency):
            late = Signal(len(value), name=f"late_{stage}")
            m.d.sync += late.eq(value)
            value = late
        m.d.comb += self.r_data.eq(value)
        return m


def memory(pixels: int) -> Bench:
    params = replace(MEMORY, pixels=pixels)

    def echo(m, label, shape, *, expand, name=""):
        m.submodules[label] = bank = Echo(shape, int(label.rpartition("_")[2]))
        return bank

    with ExitStack() as stack:
        stack.enter_context(patch.object(feature_memory, "place_ram", echo))
        dut = feature_memory.FeatureMemory(params, expand=True)
        b = Bench(dut)
    banks, word = params.banks, params.word_bits
    row_bits = (params.bank_rows - 1).bit_length()
    total = params.bank_rows * banks
    asked, valid, double = Signal(ADDRESS_BITS), Signal(), Signal()
    b.m.d.comb += [
        asked.eq(Mux(dut.vector.valid, dut.vector.address,
                     Mux(dut.beat.valid, dut.beat.address, dut.store.address))),
        valid.eq(bank(asked) < banks),
        double.eq(dut.beat.valid & dut.beat.double),
    ]  # fmt: skip
    b.assume(~dut.beat.valid | ~dut.vector.valid)
    for _ in range(READ_LATENCY):
        asked, valid, double = b.past(asked, "at"), b.past(valid, "ok"), b.past(double, "twice")
    cycles = Signal(4)
    b.m.d.sync += cycles.eq(cycles + (cycles != 15))
    first = Signal(24)
    b.m.d.comb += first.eq(address.row_of(asked)[:row_bits] * banks + bank(asked))
    for lane in range(params.lanes):
        code = dut.lanes[lane * word : lane * word + BANK_BITS + row_bits]
        place = Signal(24, name=f"place_{lane}")
        b.m.d.comb += place.eq(code[BANK_BITS:] * banks + code[:BANK_BITS])

        def is_word(step: int, place=place, lane=lane):
            want = first + step * lane
            return place == Mux(want >= total, want - total, want)

        known = valid & (cycles >= READ_LATENCY)
        b.prove(~known | double | is_word(1), f"lane {lane} is not the word {lane}")
        if lane < params.pixels and 2 * lane < banks:
            b.prove(~known | ~double | is_word(2), f"lane {lane} is not the word {2 * lane}")
    b.cover((cycles >= READ_LATENCY) & valid & (first == 1234), "a read")
    return b


class Translate(wiring.Component):
    """The stages of `translate` between ports."""

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": In(1),
                "ready": Out(1),
                "base": In(BEAT_ADDRESS_BITS),
                "offset": In(width("offset")),
                "length": In(width("words")),
                "transfer": Out(stream.Signature(TRANSFER)),
                "clear": In(1),
                "pending": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        source = (self.valid, self.base, self.offset, self.length)
        ready, pending = translate.translate(m, "at", source, self.transfer, clear=self.clear)
        m.d.comb += [self.ready.eq(ready), self.pending.eq(pending)]
        return m


def region() -> Bench:
    dut = Translate()
    b = Bench(dut)
    m = b.m
    took = dut.valid & dut.ready & ~dut.clear
    gave = dut.transfer.valid & dut.transfer.ready
    held, summed = b.signal("at_held"), b.signal("at_sum_valid")
    choose, marked, ahead = b.free(1, "follow"), Signal(), Signal()
    place, beats = Signal(36), Signal(24)
    with m.If(marked & gave):
        m.d.sync += ahead.eq(0)
        with m.If(~ahead):
            m.d.sync += marked.eq(0)
    with m.If(took & choose & ~marked):
        m.d.sync += [
            marked.eq(1), place.eq(dut.base + dut.offset), beats.eq(dut.length),
            ahead.eq(summed & ~dut.transfer.ready),
        ]  # fmt: skip
    with m.If(dut.clear):
        m.d.sync += marked.eq(0)
    mine = marked & ~ahead & summed
    b.prove(
        ~mine | ((dut.transfer.p.address == place) & (dut.transfer.p.beats == beats)),
        "not base + offset",
    )
    b.prove(~marked | held | mine, "a transfer is lost")
    b.prove(~(marked & held & ~mine)
            | (((b.signal("at_base") + b.signal("at_offset"))[:36] == place)
               & (b.signal("at_length") == beats)), "a held transfer changes")  # fmt: skip
    b.prove(~(marked & ahead) | summed, "out of order")
    b.prove(
        (b.signal("at_held_data") == held) & (b.signal("at_sum_data") == summed), "copies differ"
    )
    cleared = b.past(dut.clear, "clear")
    b.prove(~cleared | ~dut.pending, "not cleared")
    waits = b.past(dut.transfer.valid & ~dut.transfer.ready & ~dut.clear, "waits")
    before = b.past(dut.transfer.payload.as_value(), "transfer")
    b.prove(~waits | (dut.transfer.valid & (dut.transfer.payload.as_value() == before)), "unstable")
    b.cover(mine & gave & (beats == 3), "a transfer")
    return b


PROOFS = (
    Proof(
        "address_add",
        "address.add",
        f"the sum of any two addresses is that of their linear values, for {len(BANKS)} numbers of "
        "banks from 2 to 63",
        add,
        depth=1,
        cover_depth=2,
        bounded=True,
        mutations=(
            Mutation("common.address", "wraps = [n >= banks", "wraps = [n > banks"),
            Mutation("common.address", "following.eq((Cat(1, row_of(a))",
                     "following.eq((Cat(0, row_of(a))"),
        ),
    ),
    Proof(
        "memory_rotation",
        "FeatureMemory: rows, banks, rotation",
        "lane l reads the word l (in a double beat 2 l) behind any address",
        lambda: memory(2),
        depth=READ_LATENCY + 2,
        cover_depth=READ_LATENCY + 2,
        mutations=(
            Mutation("memory.feature_memory", "starts[index % parts] > index",
                     "starts[index % parts] >= index"),
            Mutation("memory.feature_memory", "coarse = tree(m, start[1:], self._spread_counts(1)",
                     "coarse = tree(m, start[1:], self._spread_counts(2)"),
        ),
    ),
    Proof(
        "translate",
        "translate",
        "every transfer comes once, in order, at base + offset; stable; cleared at once",
        region,
        depth=2,
        cover_depth=6,
        mutations=(
            Mutation("shell.translate", "with m.If(~held_data):", "with m.If(1):"),
            Mutation("shell.translate", "advance.eq(~summed_valid | target.ready)",
                     "advance.eq(1)"),
        ),
    ),
)  # fmt: skip
