"""Program interpreter: executes the encoded program on a byte-exact feature-map memory.

It sees what the hardware sees: program, weight and input bytes. The memory starts with random
bytes, and every rule the hardware relies on is checked: bytes are used only once they were
written and waited for, nothing is written where a STORE may still read, write steps are free of
bank conflicts, addresses are in range, streams are consumed to the last word. A broken rule raises
ProgramError with the instruction's index.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.epilogue import Epilogue, Writer, finish
from fpga_gen.contract.isa import (
    IN_FLIGHT,
    TABLE_ENTRIES,
    ConvInstruction,
    EndInstruction,
    FetchInstruction,
    Instruction,
    LoadInstruction,
    PageInstruction,
    PoolInstruction,
    Region,
    StoreInstruction,
    TableInstruction,
    VectorInstruction,
    decode_program,
)
from fpga_gen.contract.numerics import split16
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import GroupHead
from fpga_gen.contract.slot_layout import slot_run
from fpga_gen.contract.weight_stream import (
    HEAD_GRANULES,
    group_head,
    group_subgroups,
    listed_slots,
    slot_halves,
    unpack_head,
    unpack_params,
    unpack_slots,
)
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.execute.conv import PoolMatrix, Walk, check_list, conv_sums
from fpga_gen.schedule.execute.memory import ProgramError, TrackedMemory
from fpga_gen.schedule.execute.stream import StreamReader
from fpga_gen.schedule.execute.vector import vector_sums
from fpga_gen.schedule.program import Schedule, TracePoint
from fpga_gen_host.regions import (
    BEAT_BYTES,
    pack_input,
    restore_fourth,
    unpack_output,
    unstripe,
    words_to_map,
)

__all__ = ["ProgramError", "RunResult", "TracedMap", "run_program", "run_schedule"]


@dataclass(frozen=True, eq=False)
class TracedMap:
    """Rows [first_row, first_row + values.shape[1]) of a tensor after instruction `after`."""

    tensor: str
    after: int
    first_row: int
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class RunResult:
    """Output region bytes and, if traced, every map in program order."""

    output: bytes
    maps: tuple[TracedMap, ...]


class _Engine:
    """program: words that have come so far; decoded: those that were executed; tables: entries by
    number; lookups: tables of the writers whose results may be under way."""

    def __init__(
        self,
        params: EngineParams,
        program: bytes,
        regions: dict[Region, bytes],
        output_bytes: int,
        seed: int,
    ) -> None:
        self.params = params
        self.program: list[int] = []
        self.decoded = 0
        self._append(unstripe(program, params.ports))
        self.memory = TrackedMemory(params, seed)
        self.stream = StreamReader(params, regions)
        self.output = np.zeros(output_bytes, np.uint8)
        self.stored = np.zeros(output_bytes // BEAT_BYTES, bool)  # beats of it that were written
        self.acknowledged = self.stored.copy()  # those that a FETCH waited for
        self.tables: dict[int, tuple[int, ...]] = {}
        self.lookups: deque[int] = deque(maxlen=IN_FLIGHT)

    def address(self, code: int) -> int:
        return unpack_address(code, self.params.banks)

    def run(self, i: Instruction) -> None:
        """Execute one instruction."""
        self.decoded += i.encoded_words
        if (i.wait or i.ALONE) and not i.DECODED:
            self.memory.drain()
        match i:
            case FetchInstruction():
                self._fetch(i)
            case LoadInstruction():
                self._load(i)
            case ConvInstruction():
                self._conv(i)
            case PoolInstruction():
                self._pool(i)
            case VectorInstruction():
                self._vector(i)
            case StoreInstruction():
                self._store(i)
            case PageInstruction():
                self._append(self.stream.take_words(i.words))
            case TableInstruction():
                self._table(i)
            case EndInstruction():
                if not i.wait:
                    raise ProgramError("END must wait for the last results")
                self.stream.finish()

    def _table(self, i: TableInstruction) -> None:
        if not self.params.activations:
            raise ProgramError("the engine has no tables")
        if i.lookup == 0 or len(i.entries) != TABLE_ENTRIES:
            raise ProgramError(f"table {i.lookup} of {len(i.entries)} entries")
        if i.lookup in self.lookups:
            raise ProgramError(f"results under way may still index table {i.lookup}")
        self.tables[i.lookup] = tuple(entry.stored for entry in i.entries)

    def _epilogue(self, i: Writer) -> Epilogue:
        self.lookups.append(i.lookup)
        if i.lookup and i.lookup not in self.tables:
            raise ProgramError(f"table {i.lookup} was never filled")
        try:
            return Epilogue.of(i, self.tables.get(i.lookup, ()))
        except ValueError as error:
            raise ProgramError(f"{i.op.name}: {error}") from error

    def _append(self, words: np.ndarray) -> None:
        """Words of the stream become the next ones of the program."""
        self.program += words.reshape(-1).view("<u8").tolist()
        waiting, room = len(self.program) - self.decoded, self.params.program_words
        if waiting > room:
            raise ProgramError(f"{waiting} words of program are in a memory of {room}")

    def _fetch(self, i: FetchInstruction) -> None:
        if i.wait:
            self.memory.stores_done()
            self.acknowledged = self.stored.copy()
        if i.region == Region.OUTPUT:
            self.stream.fetch_output(self.output, self.acknowledged, i.offset, i.words)
        else:
            self.stream.fetch(Region(i.region), i.offset, i.words)

    def _load(self, i: LoadInstruction) -> None:
        p = self.params
        base, stride = self.address(i.base), self.address(i.stride)
        offsets = p.load_offsets(stride)
        if not p.load_fits(stride):
            raise ProgramError(f"LOAD stride {stride} has write conflicts")
        count, sent = i.words, i.stream_words
        if sent != count - (count // 4 if i.packed else 0):
            raise ProgramError(f"LOAD of {count} words from {sent} stream words")
        words, known = self.stream.take_known_words(sent)
        self.memory.begin_instruction()
        parts = words.reshape(sent, p.load_words, p.in_channels).view(np.int8).transpose(1, 0, 2)
        parts = restore_fourth(parts, count) if i.packed else parts
        known = np.repeat(known, p.beat_words, axis=1).T
        known = np.ones((p.load_words, count), bool) if i.packed else known
        for offset, part, there in zip(offsets, parts, known, strict=True):
            index = base + offset + np.arange(count) * p.beat_words
            self.memory.write(index, 0, part)
            self.memory.forget(index[~there])

    def _write_result(
        self,
        i: ConvInstruction | VectorInstruction,
        index: np.ndarray,
        values: np.ndarray,
        first: int = 0,
    ) -> None:
        """Stored values (pixels, channels) to the planes from out_base on, from byte `first` on."""
        ci, plane = self.params.in_channels, self.address(i.out_plane)
        if i.out16:
            high, low = split16(values)
            parts = [(0, high), (self.address(i.out_low), low)]
        else:
            parts = [(0, values.astype(np.int8))]
        end = first + values.shape[1]
        for shift, part in parts:
            for block in range(-(-end // ci)):
                start, stop = max(first, block * ci), min(end, (block + 1) * ci)
                self.memory.write(
                    index + shift + block * plane,
                    start - block * ci,
                    part[:, start - first : stop - first],
                )

    def _check_conv(self, i: ConvInstruction) -> None:
        p, mode = self.params, i.array_mode
        per_group, plane = p.group_channels(mode), self.address(i.out_plane)
        if p.write_words(mode) > 1 and plane % p.banks != p.skew % p.banks:
            raise ProgramError(f"CONV out_plane {plane} has write conflicts")
        if not i.list_words and i.slots != sum(b.tap_count for b in i.blocks):
            raise ProgramError(f"CONV slots {i.slots} is not the sum of the blocks' taps")
        if not 0 <= i.n_groups * per_group - i.channels < per_group:
            raise ProgramError("CONV channels and n_groups disagree")
        tail = i.channels - (i.n_groups - 1) * per_group
        if not -(-tail // p.sub_columns) <= i.last_subgroups <= p.subgroups // mode:
            raise ProgramError(f"CONV last group of {i.last_subgroups} column subgroups")

    def _take_head(self, i: ConvInstruction, group: int) -> GroupHead:
        """What the slots of an output-channel group are, from the header or from the stream."""
        head = (
            group_head(i, group)
            if not i.list_words
            else unpack_head(self.stream.take_granules(HEAD_GRANULES))
        )
        if 2 * head.repeats > head.slots:
            raise ProgramError(f"CONV with {head.slots} slots cannot repeat {head.repeats}")
        if not head.half_from <= head.high_from <= head.stream_slots:
            raise ProgramError("CONV slots of half the inputs are out of order")
        if i.list_words:
            check_list(i, group, head)
        return head

    def _take_weights(self, i: ConvInstruction) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(int8 weights (slots of the tables, CI, channels), parameters by name, each (channels,))
        of a CONV."""
        p = self.params
        slots, blocks = [], []
        for group in range(i.n_groups):
            subgroups, parts, taken = group_subgroups(i, p, group), [], 0
            head = self._take_head(i, group)
            block = self.stream.take_granules(p.some_param_granules(subgroups))
            blocks.append(unpack_params(block, subgroups * p.sub_columns))
            for half, count in slot_halves(head):
                size = slot_run(p, subgroups, half).granules
                raw = self.stream.take_granules(count * size).reshape(count, size)
                parts.append(unpack_slots(raw, p, subgroups, half))
                taken += count * size
            replayed = i.n_tiles > 1 or head.repeats
            if replayed and taken > p.weight_words * p.stream_granules:
                raise ProgramError("CONV weights of one group exceed the weight buffer")
            sent = np.concatenate(parts)
            used = np.concatenate([sent, sent[len(sent) - head.repeats :]])
            if i.list_words:
                whole = np.zeros((sum(b.tap_count for b in i.blocks), *used.shape[1:]), np.int8)
                whole[listed_slots(i, i.group_lists[group])] = used
                used = whole
            slots.append(used)
        weight = np.concatenate(slots, axis=2)[..., : i.channels]
        parameters = {
            name: np.concatenate([b[name] for b in blocks])[: i.channels] for name in blocks[0]
        }
        return weight, parameters

    def _conv(self, i: ConvInstruction) -> None:
        walk = Walk.of(i, self.params)
        self._check_conv(i)
        weight, parameters = self._take_weights(i)
        epilogue = self._epilogue(i)
        self.memory.begin_instruction()
        stored = np.empty((len(walk.out), i.channels), np.int16)
        for part, sums in conv_sums(i, walk, weight, self.memory, self.params):
            stored[part] = finish(sums, epilogue, **parameters)
        self._write_result(i, self.address(i.out_base) + walk.out, stored, i.byte_offset)

    def _pool(self, i: PoolInstruction) -> None:
        walk = Walk.of(i, self.params)
        if i.n_groups != i.n_blocks or i.byte_offset or i.mode or i.out16:
            raise ProgramError("POOL needs one group per block, whole words and mode 1")
        self.lookups.append(0)
        plane, out = self.address(i.out_plane), self.address(i.out_base) + walk.out
        self.memory.begin_instruction()
        matrix = PoolMatrix(i, walk, self.memory, self.params)
        results = [matrix.maximum(b) for b in range(i.n_blocks)]
        for block, best in enumerate(results):
            self.memory.write(out + block * plane, 0, best)

    def _vector(self, i: VectorInstruction) -> None:
        p = self.params
        block = unpack_params(self.stream.take_granules(p.param_granules(1)), p.columns)
        parameters = {name: values[: p.in_channels] for name, values in block.items()}
        epilogue = self._epilogue(i)
        self.memory.begin_instruction()
        plane = self.address(i.out_plane)
        index = self.address(i.out_base) + np.arange(i.out_h * i.out_w)
        results = [
            finish(vector_sums(i, block, self.memory, p), epilogue, **parameters)
            for block in range(i.n_blocks)
        ]
        for block, values in enumerate(results):
            self._write_result(i, index + block * plane, values)

    def _store(self, i: StoreInstruction) -> None:
        base, start = self.address(i.base), i.offset * BEAT_BYTES
        raw = self.memory.store(base, i.words).view(np.uint8).reshape(-1)
        if len(raw) % BEAT_BYTES or start + len(raw) > len(self.output):
            raise ProgramError(f"STORE of {len(raw)} bytes at {start} leaves the output region")
        beats = slice(i.offset, i.offset + len(raw) // BEAT_BYTES)
        if self.stored[beats].any():
            raise ProgramError(f"STORE to byte {start}, where an earlier one wrote")
        self.stored[beats] = True
        self.output[start : start + len(raw)] = raw


def _decoded(words: list[int]) -> Iterator[Instruction]:
    try:
        yield from decode_program(words)
    except ValueError as error:
        raise ProgramError(str(error)) from error


def run_program(
    params: EngineParams,
    program: bytes,
    weights: bytes,
    input_bytes: bytes,
    output_bytes: int,
    trace: Sequence[TracePoint] = (),
    seed: int = 1,
) -> RunResult:
    """Execute a program, of which `program` is the first fill, on its weight and input regions.

    output_bytes: size of the output region. trace: maps to copy out, see TracePoint. seed: of the
    random initial memory. Raises ProgramError where the program breaks a rule of the hardware.
    """
    regions = {Region.WEIGHTS: weights, Region.INPUT: input_bytes}
    engine = _Engine(params, program, regions, output_bytes, seed)
    points: dict[int, list[TracePoint]] = defaultdict(list)
    for point in trace:
        points[point.after].append(point)
    maps = []
    for index, instruction in enumerate(_decoded(engine.program)):
        try:
            engine.run(instruction)
        except ProgramError as error:
            raise ProgramError(f"instruction {index} ({instruction.op.name}): {error}") from error
        for point in points[index]:
            place = point.placement
            run = engine.memory.peek(place.base, place.layout.words)
            values = words_to_map(place.layout, run)
            maps.append(TracedMap(place.tensor, index, place.first_row, values))
    return RunResult(engine.output.tobytes(), tuple(maps))


def run_schedule(
    schedule: Schedule, stored_input: np.ndarray, trace: bool = False, seed: int = 1
) -> tuple[dict[str, np.ndarray], tuple[TracedMap, ...]]:
    """(stored output tensors by name, traced maps) of a stored input (channels, height, width)."""
    try:
        input_bytes = pack_input(schedule.host_input, stored_input)
    except ValueError as error:
        raise ScheduleError(str(error)) from error
    result = run_program(
        schedule.params,
        schedule.program,
        schedule.weights,
        input_bytes,
        schedule.host_output.bytes,
        schedule.trace if trace else (),
        seed,
    )
    return unpack_output(schedule.host_output, result.output), result.maps
