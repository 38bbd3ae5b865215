"""Sequencer: programs with every opcode against their instructions; decode-ahead; bad programs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fpga_gen.contract.isa import (
    HEADER_WORDS,
    MAX_BLOCKS,
    MAX_SOURCES,
    MAX_TABLE,
    MAX_TAPS,
    EndInstruction,
    Instruction,
    Op,
    PageInstruction,
    Region,
    limit,
)
from fpga_gen.hardware.loader.joints import KIND_WORDS
from fpga_gen_host.registers import ErrorCode
from rtl_tests.sequencer_bench import Bench, command_of, random_instruction, random_pages, walk
from tests.engines import SMALL, TABLES
from tests.schedule.graphs import THREE_MODES

TWO_PORTS = replace(THREE_MODES, ports=2, activations=True)
END = EndInstruction(wait=1)


def check_commands(bench: Bench) -> None:
    """The program first, then one command per consumer of the stream, in order."""
    per_word = bench.params.stream_bits // 64
    consumers = [i for i in bench.program if i.op in (Op.CONV, Op.VECTOR, Op.LOAD, Op.PAGE)]
    kind, *_, words = bench.commands[0]
    assert (kind, words) == (KIND_WORDS, bench.first // per_word)
    assert len(bench.commands) == 1 + len(consumers)
    for command, instruction in zip(bench.commands[1:], consumers, strict=True):
        want = command_of(instruction)
        if instruction.op in (Op.LOAD, Op.PAGE):
            assert (command[0], command[-1]) == want
        else:
            assert command[: len(want)] == want


@pytest.mark.parametrize("patience", [0.15, 0.5, 1.0])
@pytest.mark.parametrize("params", [TABLES, TWO_PORTS], ids=["one-port", "two-ports"])
def test_programs(params, patience):
    rng = random.Random(f"{params.ports} {patience}")
    every = [op for op in Op if op not in (Op.PAGE, Op.END)]
    ops = rng.sample(every * 4, 4 * len(every))
    program = [*(random_instruction(rng, op) for op in ops), END]
    bench = Bench(params, program, seed=3, patience=patience)
    bench.run()
    assert bench.started == bench.expected
    assert bench.done == 1
    assert bench.layers == len(bench.expected) + 1
    assert not bench.errors
    fetches = [i for i in program if i.op == Op.FETCH]
    assert bench.fetches == [(i.region, i.offset, i.words) for i in fetches]
    check_commands(bench)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("params", [TABLES, TWO_PORTS], ids=["one-port", "two-ports"])
def test_pages(params, seed):
    """Programs several times as long as the memory, with pages of any size anywhere."""
    rng = random.Random(seed)
    small = replace(params, program_words=64)
    per_word = params.stream_bits // 64
    every = [op for op in Op if op not in (Op.PAGE, Op.END)]
    ops = rng.sample(every * 5, 5 * len(every))
    program, first = random_pages(
        rng, [*(random_instruction(rng, op) for op in ops), END], 64, per_word
    )
    bench = Bench(small, program, seed=seed, patience=(0.2, 0.5, 1.0)[seed % 3], first=first)
    assert len(bench.words) > 3 * 64
    bench.run()
    assert bench.started == bench.expected
    assert bench.done == 1
    assert not bench.errors
    check_commands(bench)


def test_page_waits_for_the_words_of_a_load():
    """They come through the same queue: the page is not ordered while the LOAD runs."""
    rng = random.Random(31)
    load = random_instruction(rng, Op.LOAD)
    page = PageInstruction(words=1)
    bench = Bench(SMALL, [load, page, END], seed=1, patience=1.0, hold=True, first=4)

    async def watch(ctx) -> None:
        await bench.start(ctx)
        await ctx.tick().repeat(200)
        assert len(bench.commands) == 2  # program, LOAD
        bench.hold = False
        while not bench.done:
            await ctx.tick()
        assert len(bench.commands) == 3

    bench.run(watch)


def test_page_that_overwrites_what_is_not_decoded():
    """One word too many: refused, and what it would have overwritten is still executed."""
    rng = random.Random(32)
    small = replace(SMALL, program_words=64)
    page = PageInstruction(words=1)
    program = [page, *(random_instruction(rng, Op.STORE) for _ in range(31)), END]
    assert sum(i.encoded_words for i in program) == 64
    bench = Bench(small, program, seed=1, patience=1.0, hold=True, first=64)
    bench.run()
    assert [ErrorCode(code) for code, _ in bench.errors] == [ErrorCode.PROGRAM_OVERFLOW]
    assert bench.started == bench.expected[: len(bench.started)]
    assert not bench.done


def test_page_of_no_words():
    page = PageInstruction()
    assert error_of([page.encode()[0]], [page]) == (ErrorCode.BAD_INSTRUCTION, 0)


def test_store_runs_beside_others():
    """While the store unit is busy, other instructions begin; the next STORE and END wait for it
    (see sequencer_bench)."""
    rng = random.Random(12)
    walks = [walk(rng, Op.CONV, 1, 1, wait) for wait in (0, 1, 0)]
    store = random_instruction(rng, Op.STORE)
    bench = Bench(SMALL, [store, *walks, store, *walks, END], seed=6, patience=0.6)
    bench.slow_store = True
    bench.run()
    assert bench.started == bench.expected
    assert bench.beside == 6
    assert bench.done == 1


def test_fetch_of_what_was_stored_waits():
    """STORE and FETCH in turn: a FETCH that waits comes behind the acknowledgement of its STORE,
    though it is decoded while the STORE runs; one that does not, of whatever region, comes at once.
    """
    rng = random.Random(4)
    output = replace(random_instruction(rng, Op.FETCH), region=Region.OUTPUT, wait=1)
    pair = [random_instruction(rng, Op.STORE), output]
    bench = Bench(SMALL, [*pair * 12, END], seed=5, slow_store=True)
    bench.run()
    assert bench.done == 1
    assert len(bench.fetches) == bench.written == 12
    for region in (Region.WEIGHTS, Region.OUTPUT):
        fetch = replace(output, region=region, wait=0)
        early = Bench(SMALL, [pair[0], fetch, END], seed=5, slow_store=True)
        early.run(early.until_fetched)
        assert early.written == 0


def test_longest_tables():
    """255 blocks, taps and list words, twice: the second is decoded while the first is read."""
    rng = random.Random(5)
    lists = {Op.CONV: limit("list_words"), Op.POOL: 0}
    walks = [walk(rng, op, MAX_BLOCKS, MAX_TAPS, 0, lists[op]) for op in lists]
    walks.insert(1, walk(rng, Op.CONV, 3, 200, 0, lists[Op.CONV]))
    bench = Bench(SMALL, [*walks, random_instruction(rng, Op.CONV), END], seed=4, patience=1.0)
    bench.run()
    assert bench.started == bench.expected
    assert bench.done == 1


def test_full_program_memory():
    """A program that fills the memory to the last word."""
    rng = random.Random(6)
    small = replace(SMALL, program_words=64)
    program = [*(random_instruction(rng, Op.STORE) for _ in range(26)), walk(rng, Op.CONV, 1, 2, 1)]
    bench = Bench(small, [*program, END], seed=1, patience=1.0)
    assert sum(len(i.encode()) for i in bench.program) == len(bench.words) == 64
    bench.run()
    assert bench.started == program
    assert bench.done == 1


def test_decode_ahead():
    """While a CONV runs, the next one's weights are ordered and its tables filled, so that it
    starts a few cycles after the first ends; the one after that is not touched."""
    rng = random.Random(7)
    program = [random_instruction(rng, Op.CONV) for _ in range(3)]
    program = [replace(i, wait=0) for i in program]
    bench = Bench(SMALL, [*program, END], seed=2, patience=1.0, hold=True)

    async def watch(ctx) -> None:
        await bench.start(ctx)
        while not bench.started:
            await ctx.tick()
        await ctx.tick().repeat(100)
        assert len(bench.started) == 1
        assert len(bench.commands) == 3  # program, first, second
        bench.hold = False
        while ctx.get(bench.dut.units.walker_busy):
            await ctx.tick()
        free = bench.cycle
        while len(bench.started) < 2:
            await ctx.tick()
        assert bench.start_cycles[1] - free <= 3

    bench.run(watch)


def error_of(words: list[int], program: list[Instruction], params=SMALL) -> tuple[ErrorCode, int]:
    """(error code, instructions started) of a bad program; nothing happens after the error."""
    bench = Bench(params, program, seed=8, patience=0.7, words=words)
    bench.run()
    assert not bench.done
    ((code, cycle),) = bench.errors
    assert all(start < cycle + 1 for start in bench.start_cycles)
    return ErrorCode(code), len(bench.started)


def encoded(program: list[Instruction]) -> list[int]:
    return [word for i in program for word in i.encode()]


@pytest.mark.parametrize("opcode", range(max(Op) + 1, 16))
def test_unknown_opcode(opcode):
    rng = random.Random(opcode)
    good = [random_instruction(rng, op) for op in (Op.LOAD, Op.CONV)]
    assert error_of([*encoded(good), opcode, 0], good) == (ErrorCode.BAD_INSTRUCTION, 2)


@pytest.mark.parametrize(
    ("op", "bad"),
    [
        *((op, {name: 0}) for op in (Op.CONV, Op.POOL)
          for name in ("n_blocks", "n_taps", "n_tiles", "tile_groups", "n_groups", "lanes")),
        (Op.CONV, {"tile_groups": SMALL.tile_groups + 1}),
        (Op.CONV, {"mode": 2}),
        (Op.POOL, {"mode": 3}),
        *((Op.VECTOR, {name: 0}) for name in ("n_blocks", "n_sources", "out_h", "out_w")),
        (Op.VECTOR, {"n_sources": MAX_SOURCES + 1}),
        *((Op.VECTOR, {"direct": 0, name: value})
          for name in ("y_words", "x_words") for value in (0, MAX_TABLE // 2 + 1)),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_fields(op, bad):
    rng = random.Random(9)
    good = [random_instruction(rng, Op.STORE)]
    broken = random_instruction(rng, op)
    broken = replace(broken, **bad)
    program = [*good, broken, END]
    assert error_of(encoded(program), program) == (ErrorCode.BAD_INSTRUCTION, 1)


@pytest.mark.parametrize("op", [Op.CONV, Op.VECTOR])
def test_program_that_ends_within_tables(op):
    rng = random.Random(13)
    program = [random_instruction(rng, Op.STORE), random_instruction(rng, op)]
    assert program[1].encoded_words > HEADER_WORDS
    words = encoded(program)
    assert error_of(words[: len(words) - 3], program) == (ErrorCode.PROGRAM_OVERFLOW, 1)


def test_program_without_end():
    rng = random.Random(10)
    program = [random_instruction(rng, Op.STORE) for _ in range(4)]
    assert error_of(encoded(program), program) == (ErrorCode.PROGRAM_OVERFLOW, 4)


def test_program_too_long():
    """Refused before anything is started."""
    rng = random.Random(11)
    small = replace(SMALL, program_words=64)
    program = [random_instruction(rng, Op.STORE) for _ in range(33)]
    bench = Bench(small, program, seed=1, patience=0.9)

    async def watch(ctx) -> None:
        await bench.start(ctx)
        while not bench.errors:
            await ctx.tick()
        await ctx.tick().repeat(100)

    bench.run(watch)
    assert [code for code, _ in bench.errors] == [ErrorCode.PROGRAM_OVERFLOW]
    assert not bench.started
    assert not bench.done
