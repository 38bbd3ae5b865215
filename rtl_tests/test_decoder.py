"""Decoder: words of random programs against what they were encoded from; what it refuses."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from fpga_gen.contract.isa import (
    LAYOUTS,
    MAX_SOURCES,
    MAX_TABLE,
    EndInstruction,
    Instruction,
    Op,
    PageInstruction,
    TableInstruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.joints import LOOKUP_BITS
from fpga_gen.hardware.control.decoder import Decoder
from fpga_gen.hardware.loader.joints import COMMAND
from fpga_gen_host.registers import ErrorCode
from rtl_tests.bench import simulate
from rtl_tests.sequencer_bench import as_word, command_of, random_instruction, table_words
from tests.engines import SMALL, TABLES

END = EndInstruction(wait=1)
ORDERED = (Op.CONV, Op.VECTOR, Op.LOAD, Op.PAGE)
DECODED = (Op.CONV, Op.POOL, Op.VECTOR, Op.LOAD, Op.STORE, Op.END)


@dataclass
class Bench:
    """A decoder between a list of words and partners with random patience."""

    words: list[int]
    seed: int
    patience: float = 0.5
    params: EngineParams = SMALL
    orders: list[tuple] = field(default_factory=list)
    fetches: list[tuple] = field(default_factory=list)
    headers: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    tables: dict[str, dict] = field(default_factory=dict)
    lookups: list[tuple[int, int, int]] = field(default_factory=list)
    seen: list[dict] = field(default_factory=list)  # tables of every header
    errors: list[int] = field(default_factory=list)
    at: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.dut = Decoder(self.params)

    def yes(self) -> bool:
        return self.rng.random() < self.patience

    async def surroundings(self, ctx) -> None:
        """Words one after the other, noise when none is present; takes all that comes."""
        dut, rng = self.dut, self.rng
        program = dut.program
        while True:
            present = self.at < len(self.words) and self.yes()
            ctx.set(program.present, int(present))
            ctx.set(program.word, self.words[self.at] if present else rng.getrandbits(64))
            ctx.set(program.exhausted, int(self.at == len(self.words)))
            vector_busy, words_busy = int(self.yes()), int(self.yes())
            ctx.set(dut.vector_busy, vector_busy)
            ctx.set(dut.words_busy, words_busy)
            ctx.set(dut.stored, int(self.yes()))
            for port in (dut.order, dut.fetch):
                ctx.set(port.ready, int(self.yes()))
            # END, the last one, is started but not taken.
            ctx.set(dut.decoded.ready, int(self.yes() and self.at < len(self.words)))
            sampled = await ctx.tick().sample(
                program.want, program.page, program.page_words, dut.order.valid, dut.order.ready,
                dut.order.payload, dut.fetch.valid, dut.fetch.ready, dut.fetch.payload,
                dut.decoded.valid, dut.decoded.ready, dut.decoded.payload, dut.failed, dut.code,
            )  # fmt: skip
            want, page, page_words = sampled[2:5]
            if page:
                self.pages.append(page_words)
            self._collect(*sampled[5:])
            self.at += want and present

    async def writes(self, ctx) -> None:
        dut, tables = self.dut, self.dut.tables
        while True:
            *_, block, tap, entries, source, y, x, index, word, number, part, pair = (
                await ctx.tick().sample(
                    dut.block_write, dut.tap_write, dut.list_write, tables.source_write,
                    tables.y_write, tables.x_write, dut.table_index, tables.word, tables.source,
                    tables.part, tables.pair,
                )
            )  # fmt: skip
            assert block + tap + entries + source + y + x <= 1
            if self.params.activations and ctx.get(dut.lookup.valid):
                out = dut.lookup
                self.lookups.append(tuple(ctx.get(p) for p in (out.lookup, out.word, out.data)))
            for name, write, key in (
                ("blocks", block, index), ("taps", tap, index), ("lists", entries, index),
                ("sources", source, (number, part)), ("y", y, pair), ("x", x, pair),
            ):  # fmt: skip
                if write:
                    table = self.tables.setdefault(name, {})
                    assert key not in table, "a table word was written twice"
                    table[key] = word

    def _collect(
        self, ordered, order_ready, order, fetched, fetch_ready, fetch, decoded, taken, header,
        failed, code,
    ) -> None:  # fmt: skip
        if ordered and order_ready:
            self.orders.append(tuple(getattr(order, name) for name in COMMAND.members))
        if fetched and fetch_ready:
            self.fetches.append((fetch.region, fetch.offset, fetch.words))
        if decoded and (taken or (header.walk.op == Op.END and not self.ended)):
            self.ended = header.walk.op == Op.END
            self.headers.append(header.as_bits())
            self.seen.append(self.tables)
            self.tables = {}
        if failed:
            self.errors.append(code)

    def run(self) -> None:
        async def bench(ctx) -> None:
            ctx.set(self.dut.start, 1)
            await ctx.tick()
            ctx.set(self.dut.start, 0)
            quiet = 0
            while quiet < 400:
                before = (self.at, len(self.headers), len(self.orders))
                await ctx.tick()
                same = before == (self.at, len(self.headers), len(self.orders))
                quiet = quiet + 1 if same else 0

        simulate(self.dut, bench, background=[self.surroundings, self.writes])


def encoded(program: list[Instruction]) -> list[int]:
    return [word for i in program for word in i.encode()]


def tables_of(i: Instruction) -> dict[str, dict]:
    """What the decoder should have written for an instruction."""
    if i.op in (Op.CONV, Op.POOL):
        return {
            "blocks": {k: r.encode()[0] for k, r in enumerate(i.blocks)},
            "taps": {k: r.encode()[0] for k, r in enumerate(i.taps)},
            **({"lists": dict(enumerate(table_words(i)[2]))} if i.list_words else {}),
        }
    if i.op != Op.VECTOR:
        return {}
    sources = [r.encode() for r in i.sources]
    out = {"sources": {(n, p): w for n, r in enumerate(sources) for p, w in enumerate(r)}}
    if i.y:
        codes = [entry.encode()[0] for entry in i.y]
        out["y"] = {k: codes[2 * k] | codes[2 * k + 1] << 32 for k in range(len(codes) // 2)}
        out["x"] = {k: entry.encode()[0] for k, entry in enumerate(i.x)}
    return out


@pytest.mark.parametrize("patience", [0.2, 0.6, 1.0])
def test_programs(patience: float) -> None:
    rng = random.Random(int(10 * patience))
    ops = rng.sample([op for op in Op if op not in (Op.PAGE, Op.END)] * 5, 35)
    program = [random_instruction(rng, op) for op in ops]
    for at in (25, 12, 3):
        program.insert(at, PageInstruction(words=rng.randint(1, 99)))
    program.append(END)
    # With patience 1 the unit that a VECTOR or a PAGE waits for would never be free.
    bench = Bench(encoded(program), seed=1, patience=min(patience, 0.95), params=TABLES)
    bench.run()
    assert not bench.errors
    tables = [i for i in program if i.op == Op.TABLE]
    assert len(tables) > 2
    assert bench.lookups == [word for i in tables for word in lookup_words(i)]
    assert bench.at == len(bench.words)
    decoded = [i for i in program if i.op in DECODED]
    masks = [(1 << 64 * LAYOUTS[i.op].words) - 1 for i in decoded]
    got = [header & mask for header, mask in zip(bench.headers, masks, strict=True)]
    assert got == [as_word(i) for i in decoded]
    assert bench.seen == [tables_of(i) for i in decoded]
    assert bench.fetches == [(i.region, i.offset, i.words) for i in program if i.op == Op.FETCH]
    assert bench.pages == [i.words for i in program if i.op == Op.PAGE]
    ordered = [i for i in program if i.op in ORDERED]
    assert len(bench.orders) == len(ordered)
    for order, i in zip(bench.orders, ordered, strict=True):
        want = command_of(i)
        whole_words = i.op in (Op.LOAD, Op.PAGE)
        assert ((order[0], order[-1]) if whole_words else order[: len(want)]) == want


def lookup_words(i: TableInstruction) -> list[tuple[int, int, int]]:
    """(number, word, data) of a TABLE."""
    data = bytes(entry.stored % 256 for entry in i.entries)
    size = LOOKUP_BITS // 8
    words = [data[at : at + size] for at in range(0, len(data), size)]
    return [(i.lookup, k, int.from_bytes(word, "little")) for k, word in enumerate(words)]


WRONG = [
    *((Op.CONV, {name: 0}) for name in ("n_blocks", "n_taps", "n_tiles", "n_groups", "lanes")),
    (Op.POOL, {"tile_groups": 0}),
    (Op.POOL, {"list_words": 1}),
    (Op.CONV, {"tile_groups": SMALL.tile_groups + 1}),
    (Op.CONV, {"mode": SMALL.max_mode}),
    *((Op.VECTOR, {name: 0}) for name in ("n_blocks", "n_sources", "out_h", "out_w")),
    (Op.VECTOR, {"n_sources": MAX_SOURCES + 1}),
    (Op.VECTOR, {"direct": 0, "y_words": 0}),
    (Op.VECTOR, {"direct": 0, "x_words": MAX_TABLE // 2 + 1}),
    (Op.PAGE, {"words": 0}),
    (Op.TABLE, {"lookup": 0}),
    (Op.TABLE, {"entry_words": 31}),
]


@pytest.mark.parametrize(("op", "fields"), WRONG)
def test_impossible_fields(op: Op, fields: dict[str, int]) -> None:
    """Refused before a table or an order; the same instruction without the fault is taken."""
    rng = random.Random(str(fields))
    good = PageInstruction(words=3) if op == Op.PAGE else random_instruction(rng, op)
    words = good.encode()
    values = {**LAYOUTS[op].decode(words), **fields}
    bad = [*LAYOUTS[op].encode(values), *words[LAYOUTS[op].words :]]
    bench = Bench(bad + END.encode(), seed=2, params=TABLES)
    bench.run()
    assert bench.errors == [ErrorCode.BAD_INSTRUCTION]
    assert not any((bench.orders, bench.headers, bench.pages, bench.tables, bench.lookups))
    fine = Bench(words + END.encode(), seed=2, params=TABLES)
    fine.run()
    assert not fine.errors


def test_an_engine_without_tables() -> None:
    instruction = random_instruction(random.Random(6), Op.TABLE)
    bench = Bench(instruction.encode() + END.encode(), seed=2)
    bench.run()
    assert bench.errors == [ErrorCode.BAD_INSTRUCTION]


@pytest.mark.parametrize("code", sorted(set(range(16)) - set(Op)))
def test_unknown_opcodes(code: int) -> None:
    bench = Bench([code, *END.encode()], seed=3)
    bench.run()
    assert bench.errors == [ErrorCode.BAD_INSTRUCTION]
    assert not bench.headers


@pytest.mark.parametrize("op", [Op.CONV, Op.VECTOR, Op.LOAD, Op.TABLE])
def test_program_that_ends_early(op: Op) -> None:
    """After any word of an instruction, once."""
    rng = random.Random(4)
    instruction = random_instruction(rng, op)
    if op == Op.VECTOR:
        while instruction.direct:
            instruction = random_instruction(rng, op)
    words = instruction.encode()
    for count in range(1, len(words)):
        bench = Bench(words[:count], seed=count, patience=0.9, params=TABLES)
        bench.run()
        assert bench.errors == [ErrorCode.PROGRAM_OVERFLOW], count
        assert not bench.headers


def test_pair_needs_two_pixels() -> None:
    """`pair` on an engine whose vector unit computes one pixel a step."""
    narrow = replace(SMALL, dsp_columns=4, sp2_columns=2)
    assert narrow.vector_pixels == 1
    rng = random.Random(5)
    vector = replace(random_instruction(rng, Op.VECTOR), pair=1)
    bench = Bench(vector.encode() + END.encode(), seed=1, params=narrow)
    bench.run()
    assert bench.errors == [ErrorCode.BAD_INSTRUCTION]
