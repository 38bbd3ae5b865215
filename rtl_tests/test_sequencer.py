"""Sequencer: programs with every opcode against their instructions; decode-ahead; bad programs.

The bench plays loader, stream reader and all units with random patience.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest

from fpga_gen.hardware.loader import KIND_CONV, KIND_VECTOR, KIND_WORDS
from fpga_gen.hardware.params import SMALL, EngineParams
from fpga_gen.hardware.sequencer import Sequencer
from fpga_gen.isa import (
    BLOCK,
    ENTRY,
    HEADER_WORDS,
    LAYOUTS,
    MAX_BLOCKS,
    MAX_SOURCES,
    MAX_TAPS,
    SOURCE,
    TAP,
    Field,
    Instruction,
    Op,
    encode_fields,
    words_of,
)
from fpga_gen.registers import ErrorCode
from rtl_tests.axi_bench import simulate
from tests.schedule.graphs import THREE_MODES

TWO_PORTS = replace(THREE_MODES, ports=2)
UNITS = {Op.CONV: "walker", Op.POOL: "walker", Op.VECTOR: "vector"}
UNITS |= {Op.LOAD: "load", Op.STORE: "store"}
END = Instruction(Op.END, {"wait": 1})


def noise(rng: random.Random, layout: tuple[Field, ...], **fixed: int) -> dict[str, int]:
    """Random values of all fields but the opcode."""
    values = {}
    for f in layout:
        low, high = (-(1 << f.bits - 1), 1 << f.bits - 1) if f.signed else (0, 1 << f.bits)
        values[f.name] = rng.randrange(low, high)
    values.pop("op", None)
    return {**values, **fixed}


def random_instruction(rng: random.Random, op: Op) -> Instruction:
    wait = rng.randint(0, 1)
    if op in (Op.CONV, Op.POOL):
        blocks, taps = rng.randint(1, 5), rng.randint(1, 7)
        return walk(rng, op, blocks, taps, wait)
    if op == Op.VECTOR:
        direct, n_sources = rng.randint(0, 1), rng.randint(1, MAX_SOURCES)
        sizes = {name: rng.randint(1, 5) for name in ("out_h", "out_w", "y_taps", "x_taps")}
        fields = noise(
            rng, LAYOUTS[op], wait=wait, direct=direct, n_sources=n_sources,
            n_blocks=rng.randint(1, 9), **sizes,
        )  # fmt: skip
        y, x = (
            tuple(noise(rng, ENTRY) for _ in range(0 if direct else sizes[a] * sizes[b]))
            for a, b in (("out_h", "y_taps"), ("out_w", "x_taps"))
        )
        sources = tuple(noise(rng, SOURCE) for _ in range(n_sources))
        return Instruction(op, fields, sources=sources, y=y, x=x)
    return Instruction(op, noise(rng, LAYOUTS[op], wait=wait))


def walk(rng: random.Random, op: Op, blocks: int, taps: int, wait: int) -> Instruction:
    fields = noise(
        rng, LAYOUTS[op], wait=wait, n_blocks=blocks, n_taps=taps, tile_groups=rng.randint(1, 16),
        mode=rng.randint(0, 1), n_tiles=rng.randint(1, 99), n_groups=rng.randint(1, 99),
        lanes=rng.randint(1, 4),
    )  # fmt: skip
    return Instruction(
        op,
        fields,
        blocks=tuple(noise(rng, BLOCK) for _ in range(blocks)),
        taps=tuple(noise(rng, TAP) for _ in range(taps)),
    )


def as_word(i: Instruction) -> int:
    """Header words as one number."""
    words = encode_fields(LAYOUTS[i.op], {**i.fields, "op": int(i.op)})
    return sum(word << 64 * k for k, word in enumerate(words))


@dataclass
class Bench:
    """One sequencer, its surroundings, and what was seen."""

    params: EngineParams
    program: list[Instruction]
    seed: int
    patience: float = 0.5  # probability of a ready or a finished unit in a cycle
    words: list[int] = field(default_factory=list)
    commands: list[tuple] = field(default_factory=list)
    fetches: list[tuple] = field(default_factory=list)
    started: list[Instruction] = field(default_factory=list)
    errors: list[tuple[int, int]] = field(default_factory=list)
    done: int = 0
    layers: int = 0
    hold: bool = False  # units stay busy
    cycle: int = 0
    start_cycles: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.dut = Sequencer(self.params, expand=True)
        if not self.words:
            self.words = [word for i in self.program for word in i.encode()]
        per_word = self.params.stream_bits // 64
        self.words += [0] * (-len(self.words) % per_word)
        self.expected = [i for i in self.program if i.op not in (Op.FETCH, Op.END)]
        self.tables: dict[str, dict[tuple, int]] = {"source": {}, "y": {}, "x": {}}

    async def stream(self, ctx) -> None:
        """Program words, with gaps."""
        dut = self.dut
        per_word = self.params.stream_bits // 64
        ctx.set(dut.program_words, len(self.words) // per_word)
        for k in range(0, len(self.words), per_word):
            value = sum(w << 64 * j for j, w in enumerate(self.words[k : k + per_word]))
            while self.rng.random() > self.patience:
                await ctx.tick()
            ctx.set(dut.boot_data, value)
            ctx.set(dut.boot_valid, 1)
            taken = 0
            while not taken:
                *_, taken = await ctx.tick().sample(dut.boot_ready)
            ctx.set(dut.boot_valid, 0)

    async def units(self, ctx) -> None:
        """Start pulses make units busy for a while; the rules of a start are checked."""
        dut, rng = self.dut, self.rng
        names = ("walker", "vector", "load", "store")
        busy = dict.fromkeys(names, False)
        calm, before = 0, (False, False, False)  # units idle, exit idle, parameters ready
        running: int | None = None  # header of the busy unit
        reads: list[tuple[int, int]] = []  # table reads that are still to be made
        asked: tuple[int, int] | None = None
        while True:
            exit_idle = calm > 3 and rng.random() < 0.7
            params_ready = rng.random() < self.patience
            ready = [rng.random() < self.patience for _ in range(2)]
            ctx.set(dut.exit_idle, exit_idle)
            ctx.set(dut.params_ready, params_ready)
            ctx.set(dut.command_ready, ready[0])
            ctx.set(dut.fetch_ready, ready[1])
            for name in names:
                ctx.set(getattr(dut, f"{name}_busy"), busy[name])
            asked = (rng.choice(reads[:3]) if rng.random() < 0.8 else reads[0]) if reads else None
            if asked:
                ctx.set(getattr(dut, ("block_index", "tap_index")[asked[0]]), asked[1])
            now = (not any(busy.values()), exit_idle, params_ready)
            (
                _, _, command_valid, command, fetch_valid, region, offset, words, header,
                done, error, code, layer, layer_start, *starts,
            ) = await ctx.tick().sample(
                dut.command_valid, dut.command, dut.fetch_valid, dut.fetch_region,
                dut.fetch_offset, dut.fetch_words, dut.header, dut.done, dut.error, dut.error_code,
                dut.layer, dut.layer_start, *(getattr(dut, f"{name}_start") for name in names),
            )  # fmt: skip
            self.cycle += 1
            if asked:
                current = self.started[-1]
                layout, record = (BLOCK, current.blocks) if asked[0] == 0 else (TAP, current.taps)
                word = ctx.get((dut.block, dut.tap)[asked[0]])
                assert word == encode_fields(layout, record[asked[1]])[0]
                reads.remove(asked)
            if command_valid and ready[0]:
                self.commands.append(
                    tuple(
                        getattr(command, n)
                        for n in ("kind", "mode", "groups", "tiles", "slots", "words")
                    )
                )
            if fetch_valid and ready[1]:
                self.fetches.append((region, offset, words))
            if error:
                self.errors.append((code, self.cycle))
            self.layers += layer_start
            if running is not None and any(busy.values()):
                assert header == running, "the header changed under a busy unit"
            assert sum(starts) <= 1
            for name, pulse in zip(names, starts, strict=True):
                if not pulse:
                    continue
                instruction = self.expected[len(self.started)]
                self.started.append(instruction)
                self.start_cycles.append(self.cycle)
                assert layer == len(self.started)
                running = header
                self._check_start(instruction, name, header, before)
                busy[name] = True
                if name == "walker":
                    reads = [(0, k) for k in range(len(instruction.blocks))]
                    reads += [(1, k) for k in range(len(instruction.taps))]
            if done:
                self.done += 1
                assert len(self.started) == len(self.expected)
                assert before[0]
                assert before[1]
            for name in names:
                idle = not reads and not self.hold and rng.random() < self.patience / 3
                if busy[name] and idle and not any(starts):
                    busy[name] = False
            calm = 0 if any(busy.values()) else calm + 1
            before = now

    def _check_start(self, i: Instruction, name: str, header: int, before: tuple) -> None:
        assert name == UNITS[i.op]
        mask = (1 << 64 * words_of(LAYOUTS[i.op])) - 1
        assert header & mask == as_word(i)
        units_idle, exit_idle, params_ready = before
        assert units_idle, "started while a unit was busy"
        if i.fields["wait"] or name != "walker":
            assert exit_idle, "started before earlier results were in memory"
        if i.op == Op.VECTOR:
            assert params_ready
            sources = [w for s in i.sources for w in encode_fields(SOURCE, s)]
            got = self.tables["source"]
            assert [got[divmod(k, 2)] for k in range(len(sources))] == sources
            for axis, table in (("y", i.y), ("x", i.x)):
                codes = [encode_fields(ENTRY, e)[0] for e in table]
                codes += [0] * (len(codes) % 2)
                pairs = [codes[k] | codes[k + 1] << 32 for k in range(0, len(codes), 2)]
                assert [self.tables[axis][(k,)] for k in range(len(pairs))] == pairs

    async def vector_tables(self, ctx) -> None:
        """Keeps what is written into the vector unit; never while that is busy."""
        dut = self.dut
        while True:
            *_, source, y, x, index, word, pair, data, busy = await ctx.tick().sample(
                dut.source_write, dut.y_write, dut.x_write, dut.source_index, dut.source_word,
                dut.table_pair, dut.write_data, dut.vector_busy,
            )  # fmt: skip
            assert not (busy and (source or y or x)), "tables changed under a busy vector unit"
            if source:
                self.tables["source"][index, word] = data
            if y:
                self.tables["y"][(pair,)] = data
            if x:
                self.tables["x"][(pair,)] = data

    async def start(self, ctx) -> None:
        ctx.set(self.dut.start, 1)
        await ctx.tick()
        ctx.set(self.dut.start, 0)

    async def to_the_end(self, ctx) -> None:
        await self.start(ctx)
        while not (self.done or self.errors):
            await ctx.tick()
        await ctx.tick().repeat(50)

    def run(self, bench=None, limit: int = 20_000) -> None:
        background = [self.stream, self.units, self.vector_tables]
        simulate(self.dut, bench or self.to_the_end, background=background, limit=limit)


def command_of(i: Instruction) -> tuple:
    """(kind, mode, groups, tiles, slots, words): the last or the first ones matter to no loader."""
    f = i.fields
    if i.op == Op.CONV:
        return (KIND_CONV, f["mode"], f["n_groups"], f["n_tiles"], f["slots"])
    return (KIND_VECTOR, 0) if i.op == Op.VECTOR else (KIND_WORDS, f["words"])


def check_commands(bench: Bench) -> None:
    """The program first, then one command per consumer of the stream, in order."""
    per_word = bench.params.stream_bits // 64
    consumers = [i for i in bench.program if i.op in (Op.CONV, Op.VECTOR, Op.LOAD)]
    kind, *_, words = bench.commands[0]
    assert (kind, words) == (KIND_WORDS, len(bench.words) // per_word)
    assert len(bench.commands) == 1 + len(consumers)
    for command, instruction in zip(bench.commands[1:], consumers, strict=True):
        want = command_of(instruction)
        if instruction.op == Op.LOAD:
            assert (command[0], command[5]) == want
        else:
            assert command[: len(want)] == want


@pytest.mark.parametrize("patience", [0.15, 0.5, 1.0])
@pytest.mark.parametrize("params", [SMALL, TWO_PORTS], ids=["one-port", "two-ports"])
def test_programs(params, patience):
    rng = random.Random(f"{params.ports} {patience}")
    every = [op for op in Op if op != Op.END]
    ops = rng.sample(every * 4, 4 * len(every))
    program = [*(random_instruction(rng, op) for op in ops), END]
    bench = Bench(params, program, seed=3, patience=patience)
    bench.run()
    assert bench.started == bench.expected
    assert bench.done == 1
    assert bench.layers == len(bench.expected) + 1
    assert not bench.errors
    fetches = [i.fields for i in program if i.op == Op.FETCH]
    assert bench.fetches == [(f["region"], f["offset"], f["words"]) for f in fetches]
    check_commands(bench)


def test_longest_tables():
    """255 blocks and 255 taps, twice: the second is decoded while the first is read."""
    rng = random.Random(5)
    walks = [walk(rng, op, MAX_BLOCKS, MAX_TAPS, 0) for op in (Op.CONV, Op.POOL)]
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
    program = [replace(i, fields={**i.fields, "wait": 0}) for i in program]
    bench = Bench(SMALL, [*program, END], seed=2, patience=1.0, hold=True)

    async def watch(ctx) -> None:
        await bench.start(ctx)
        while not bench.started:
            await ctx.tick()
        await ctx.tick().repeat(100)
        assert len(bench.started) == 1
        assert len(bench.commands) == 3  # program, first, second
        bench.hold = False
        while ctx.get(bench.dut.walker_busy):
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
    ],
    ids=str,
)  # fmt: skip
def test_impossible_fields(op, bad):
    rng = random.Random(9)
    good = [random_instruction(rng, Op.STORE)]
    broken = random_instruction(rng, op)
    broken = replace(broken, fields={**broken.fields, **bad})
    program = [*good, broken, END]
    assert error_of(encoded(program), program) == (ErrorCode.BAD_INSTRUCTION, 1)


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


def test_header_words_cover_every_layout():
    """The header register holds the longest header."""
    assert max(words_of(layout) for layout in LAYOUTS.values()) == HEADER_WORDS
