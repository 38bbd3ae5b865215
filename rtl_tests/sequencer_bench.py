"""What surrounds the sequencer in its tests: loader, stream reader and all units with random
patience, random instructions, and the rules of a start."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from fpga_gen.contract.fields import Record
from fpga_gen.contract.isa import (
    DECODER_OPS,
    INSTRUCTIONS,
    LAYOUTS,
    MAX_LOOKUP,
    MAX_SOURCES,
    TABLE_ENTRIES,
    TABLE_WORDS,
    Instruction,
    Op,
    PageInstruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import (
    AxisEntry,
    BlockRecord,
    ColumnEntry,
    LookupEntry,
    SlotEntry,
    SourceRecord,
    TapRecord,
)
from fpga_gen.hardware.control.sequencer import Sequencer
from fpga_gen.hardware.loader.joints import COMMAND, KIND_CONV, KIND_VECTOR, KIND_WORDS
from rtl_tests.bench import simulate

START_DELAY = 2  # cycles from the decision to start to the pulse
UNITS = {Op.CONV: "walker", Op.POOL: "walker", Op.VECTOR: "vector"}
UNITS |= {Op.LOAD: "load", Op.STORE: "store"}


def noise(rng: random.Random, record: type[Record], **fixed: int) -> dict[str, int]:
    """Random values of all fields but the opcode."""
    values = {f.name: rng.choice(f.values) for f in record.layout() if f.name != "op"}
    return {**values, **fixed}


def random_instruction(rng: random.Random, op: Op) -> Instruction:
    wait, kind = rng.randint(0, 1), INSTRUCTIONS[op]
    if op in (Op.CONV, Op.POOL):
        blocks, taps = rng.randint(1, 5), rng.randint(1, 7)
        lists = rng.choice([0, rng.randint(1, 6)]) if op == Op.CONV else 0
        return walk(rng, op, blocks, taps, wait, lists)
    if op == Op.VECTOR:
        direct, n_sources = rng.randint(0, 1), rng.randint(1, MAX_SOURCES)
        sizes = {name: rng.randint(1, 5) for name in ("out_h", "out_w", "y_taps", "x_reads")}
        words = {name: 0 if direct else rng.randint(1, 9) for name in ("y_words", "x_words")}
        fields = noise(
            rng, kind, wait=wait, direct=direct, n_sources=n_sources,
            n_blocks=rng.randint(1, 9), **sizes, **words,
        )  # fmt: skip
        y = tuple(AxisEntry(**noise(rng, AxisEntry)) for _ in range(2 * words["y_words"]))
        x = tuple(ColumnEntry(**noise(rng, ColumnEntry)) for _ in range(words["x_words"]))
        sources = tuple(SourceRecord(**noise(rng, SourceRecord)) for _ in range(n_sources))
        return kind(**fields, sources=sources, y=y, x=x)
    if op == Op.TABLE:
        entries = tuple(LookupEntry(**noise(rng, LookupEntry)) for _ in range(TABLE_ENTRIES))
        lookup = rng.randint(1, MAX_LOOKUP)
        return kind(wait=wait, lookup=lookup, entry_words=TABLE_WORDS, entries=entries)
    return kind(**noise(rng, kind, wait=wait))


def walk(
    rng: random.Random, op: Op, blocks: int, taps: int, wait: int, lists: int = 0
) -> Instruction:
    fields = noise(
        rng, INSTRUCTIONS[op], wait=wait, n_blocks=blocks, n_taps=taps, list_words=lists,
        tile_groups=rng.randint(1, 16), mode=rng.randint(0, 1), n_tiles=rng.randint(1, 99),
        n_groups=rng.randint(1, 99), lanes=rng.randint(1, 4),
    )  # fmt: skip
    return INSTRUCTIONS[op](
        **fields,
        blocks=tuple(BlockRecord(**noise(rng, BlockRecord)) for _ in range(blocks)),
        taps=tuple(TapRecord(**noise(rng, TapRecord)) for _ in range(taps)),
        lists=tuple(SlotEntry(**noise(rng, SlotEntry)) for _ in range(lists * SlotEntry.PER_WORD)),
    )


def random_pages(
    rng: random.Random, program: list[Instruction], capacity: int, per_word: int
) -> tuple[list[Instruction], int]:
    """The program with PAGEs of random sizes at random places, and the words of its first fill."""
    out: list[Instruction] = []
    at = 0  # words of the instructions so far
    first = loaded = per_word * rng.randint(
        -(-(program[0].encoded_words + 1) // per_word), capacity // per_word
    )
    for instruction in program:
        need = at + instruction.encoded_words + 1  # with the PAGE behind it
        while loaded < need or rng.random() < 0.4:
            most = (capacity - (loaded - at - 1)) // per_word
            least = max(1, -(-(need + 1 - loaded) // per_word))
            if least > most:
                assert loaded >= need, "an instruction is too long for this memory"
                break
            words = rng.randint(least, most)
            out.append(PageInstruction(words=words, wait=rng.randint(0, 1)))
            at, loaded, need = at + 1, loaded + words * per_word, need + 1
        out.append(instruction)
        at += instruction.encoded_words
    return out, first


def command_of(i: Instruction) -> tuple:
    """Fields of a COMMAND, of which the last or the first ones matter to no loader."""
    if i.op == Op.CONV:
        slots = (i.slots, i.half_from, i.high_from, i.last_subgroups, i.repeats)
        return (KIND_CONV, i.mode, i.n_groups, i.n_tiles, *slots, int(i.list_words > 0))
    if i.op == Op.VECTOR:
        return (KIND_VECTOR, 0)
    return (KIND_WORDS, i.words if i.op == Op.PAGE else i.stream_words)


def table_words(i: Instruction) -> tuple[list[int], ...]:
    """Words of the three tables of a CONV or POOL."""
    words = i.encode()[LAYOUTS[i.op].words :]
    ends = (len(i.blocks), len(i.blocks) + len(i.taps))
    return words[: ends[0]], words[ends[0] : ends[1]], words[ends[1] :]


def as_word(i: Instruction) -> int:
    """Header words as one number."""
    words = i.encode()[: LAYOUTS[i.op].words]
    return sum(word << 64 * k for k, word in enumerate(words))


@dataclass
class Bench:
    """One sequencer, its surroundings, and what was seen."""

    params: EngineParams
    program: list[Instruction]
    seed: int
    patience: float = 0.5  # probability of a ready or a finished unit in a cycle
    words: list[int] = field(default_factory=list)
    first: int = 0  # words of the first fill; 0: all
    commands: list[tuple] = field(default_factory=list)
    fetches: list[tuple] = field(default_factory=list)
    started: list[Instruction] = field(default_factory=list)
    errors: list[tuple[int, int]] = field(default_factory=list)
    done: int = 0
    layers: int = 0
    beside: int = 0  # instructions that began while a STORE was running
    hold: bool = False  # units stay busy
    slow_store: bool = False  # the store unit stays busy for 400 cycles
    written: int = 0  # STOREs that are in DRAM
    cycle: int = 0
    start_cycles: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.dut = Sequencer(self.params, expand=True)
        if not self.words:
            self.words = [word for i in self.program for word in i.encode()]
        per_word = self.params.stream_bits // 64
        pages = sum(i.words for i in self.program if i.op == Op.PAGE) * per_word
        self.words += [0] * (self.first + pages - len(self.words) if self.first else 0)
        self.words += [0] * (-len(self.words) % per_word)
        self.first = self.first or len(self.words)
        self.expected = [i for i in self.program if i.op not in (*DECODER_OPS, Op.END)]
        self.tables: dict[str, dict[tuple, int]] = {"source": {}, "y": {}, "x": {}}

    async def stream(self, ctx) -> None:
        """Program words, with gaps."""
        dut = self.dut
        per_word = self.params.stream_bits // 64
        ctx.set(dut.program_words, self.first // per_word)
        for k in range(0, len(self.words), per_word):
            value = sum(w << 64 * j for j, w in enumerate(self.words[k : k + per_word]))
            while self.rng.random() > self.patience:
                await ctx.tick()
            ctx.set(dut.fill.word, value)
            ctx.set(dut.fill.valid, 1)
            taken = 0
            while not taken:
                *_, taken = await ctx.tick().sample(dut.fill.filling)
            ctx.set(dut.fill.valid, 0)

    async def units(self, ctx) -> None:
        """Start pulses make units busy for a while; the rules of a start are checked."""
        dut, rng = self.dut, self.rng
        names = ("walker", "vector", "load", "store")
        busy = dict.fromkeys(names, False)
        # other units than store idle, exit idle, parameters ready, store unit idle: two cycles ago,
        # when the start was decided
        calm, history = 0, [(False, False, False, False)] * START_DELAY
        store_began = stores = 0
        running: int | None = None  # header of the busy unit; the store unit needs no header
        reads: list[tuple[int, int]] = []  # table reads that are still to be made
        asked: tuple[int, int] | None = None
        while True:
            exit_idle = calm > 3 and rng.random() < 0.7
            params_ready = rng.random() < self.patience
            ready = [rng.random() < self.patience for _ in range(2)]
            ctx.set(dut.units.exit_idle, exit_idle)
            ctx.set(dut.units.params_ready, params_ready)
            ctx.set(dut.command.ready, ready[0])
            ctx.set(dut.fetch.ready, ready[1])
            for name in names:
                ctx.set(getattr(dut.units, f"{name}_busy"), busy[name])
            if self.written < stores and not busy["store"] and rng.random() < self.patience / 4:
                self.written = stores
            # Before the unit has handed its STORE over, nobody outside knows of it.
            young = busy["store"] and rng.random() < 0.5
            ctx.set(dut.stored, young or self.written == stores)
            asked = (rng.choice(reads[:3]) if rng.random() < 0.8 else reads[0]) if reads else None
            if asked:
                ctx.set((dut.blocks, dut.taps, dut.lists)[asked[0]].index, asked[1])
            others = any(busy[name] for name in names if name != "store")
            now = (not others, exit_idle, params_ready, not busy["store"])
            (
                _, _, command_valid, command, fetch_valid, fetch, header, done, error, code, layer,
                layer_start, *starts,
            ) = await ctx.tick().sample(
                dut.command.valid, dut.command.payload, dut.fetch.valid, dut.fetch.payload,
                dut.walk.header, dut.done, dut.error, dut.error_code, dut.layer, dut.layer_start,
                dut.walk.start, dut.vector.start, dut.load.start, dut.store.start,
            )  # fmt: skip
            header = header.as_bits()
            self.cycle += 1
            if asked:
                current = self.started[-1]
                word = ctx.get((dut.blocks, dut.taps, dut.lists)[asked[0]].record).as_bits()
                assert word == table_words(current)[asked[0]][asked[1]]
                reads.remove(asked)
            if command_valid and ready[0]:
                self.commands.append(tuple(getattr(command, n) for n in COMMAND.members))
            if fetch_valid and ready[1]:
                self._check_fetch()
                self.fetches.append((fetch.region, fetch.offset, fetch.words))
            if error:
                self.errors.append((code, self.cycle))
            self.layers += layer_start
            if running is not None and others:
                assert header == running, "the header changed under a busy unit"
            assert sum(starts) <= 1
            for name, pulse in zip(names, starts, strict=True):
                if not pulse:
                    continue
                instruction = self.expected[len(self.started)]
                self.started.append(instruction)
                self.start_cycles.append(self.cycle)
                assert layer == len(self.started)
                running = header if name != "store" else None
                if name == "store":
                    store_began, stores = self.cycle, stores + 1
                self.beside += busy["store"]
                self._check_start(instruction, name, header, history[0])
                busy[name] = True
                if name == "walker":
                    reads = [(0, k) for k in range(len(instruction.blocks))]
                    reads += [(1, k) for k in range(len(instruction.taps))]
                    reads += [(2, k) for k in range(instruction.list_words)]
            if done:
                self.done += 1
                assert len(self.started) == len(self.expected)
                assert history[0][:2] == (True, True)
                assert history[0][3]
            for name in names:
                idle = not reads and not self.hold and rng.random() < self.patience / 3
                if name == "store" and self.slow_store:
                    idle = self.cycle - store_began > 400
                if busy[name] and idle and not any(starts):
                    busy[name] = False
            calm = 0 if any(busy[name] for name in names if name != "store") else calm + 1
            history = [*history[1:], now]

    def _check_fetch(self) -> None:
        """A FETCH that waits comes when those before it are in DRAM."""
        ops = [i.op for i in self.program]
        places = [at for at, op in enumerate(ops) if op == Op.FETCH]
        before = ops[: places[len(self.fetches)]].count(Op.STORE)
        if self.program[places[len(self.fetches)]].wait:
            assert self.written >= before, "fetched before the STOREs were acknowledged"

    def _check_start(self, i: Instruction, name: str, header: int, before: tuple) -> None:
        assert name == UNITS[i.op]
        mask = (1 << 64 * LAYOUTS[i.op].words) - 1
        assert header & mask == as_word(i)
        units_idle, exit_idle, params_ready, store_idle = before
        assert units_idle, "started while a unit was busy"
        if name == "store":
            assert store_idle, "started while a STORE was running"
        if i.wait or name not in ("walker", "store"):
            assert exit_idle, "started before earlier results were in memory"
        if i.op == Op.VECTOR:
            assert params_ready
            sources = [w for s in i.sources for w in s.encode()]
            got = self.tables["source"]
            assert [got[divmod(k, 2)] for k in range(len(sources))] == sources
            codes = [e.encode()[0] for e in i.y]
            pairs = [codes[k] | codes[k + 1] << 32 for k in range(0, len(codes), 2)]
            for axis, words in (("y", pairs), ("x", [e.encode()[0] for e in i.x])):
                assert [self.tables[axis][(k,)] for k in range(len(words))] == words

    async def vector_tables(self, ctx) -> None:
        """Keeps what is written into the vector unit; never while that is busy."""
        dut, tables = self.dut, self.dut.tables
        while True:
            *_, source, y, x, index, word, pair, data, busy = await ctx.tick().sample(
                tables.source_write, tables.y_write, tables.x_write, tables.source, tables.part,
                tables.pair, tables.word, dut.units.vector_busy,
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

    async def until_fetched(self, ctx) -> None:
        await self.start(ctx)
        while not self.fetches:
            await ctx.tick()

    def run(self, bench=None, limit: int = 20_000) -> None:
        background = [self.stream, self.units, self.vector_tables]
        simulate(self.dut, bench or self.to_the_end, background=background, limit=limit)
