"""Program interpreter: executes the encoded program on a byte-exact feature-map memory.

It sees what the hardware sees: program, weight and input bytes. The memory starts with random
bytes, and every rule the hardware relies on is checked: bytes are used only once they were
written and waited for, nothing is written where a STORE may still read, write steps are free of
bank conflicts, addresses are in range, streams are consumed to the last word. A broken rule raises
ProgramError with the instruction's index.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.isa import Instruction, Op, Region, decode_program, unpack_address
from fpga_gen.contract.numerics import requantise, split16
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.slot_layout import slot_run
from fpga_gen.contract.weight_stream import (
    group_subgroups,
    slot_halves,
    stream_slots,
    unpack_params,
    unpack_slots,
)
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.execute.conv import PoolMatrix, Walk, conv_sums
from fpga_gen.schedule.execute.memory import FeatureMemory, ProgramError
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
    """program: words that have come so far; decoded: those that were executed."""

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
        self.memory = FeatureMemory(params, seed)
        self.stream = StreamReader(params, regions)
        self.output = np.zeros(output_bytes, np.uint8)

    def address(self, fields: dict[str, int], name: str) -> int:
        return unpack_address(fields[name], self.params.banks)

    def run(self, i: Instruction) -> None:
        """Execute one instruction."""
        self.decoded += i.words
        if i.fields.get("wait") or i.op in (Op.VECTOR, Op.LOAD):
            self.memory.drain()
        match i.op:
            case Op.FETCH:
                f = i.fields
                self.stream.fetch(Region(f["region"]), f["offset"], f["words"])
            case Op.LOAD:
                self._load(i)
            case Op.CONV:
                self._conv(i)
            case Op.POOL:
                self._pool(i)
            case Op.VECTOR:
                self._vector(i)
            case Op.STORE:
                self._store(i)
            case Op.PAGE:
                self._append(self.stream.take_words(i.fields["words"]))
            case Op.END:
                if not i.fields["wait"]:
                    raise ProgramError("END must wait for the last results")
                self.stream.finish()

    def _append(self, words: np.ndarray) -> None:
        """Words of the stream become the next ones of the program."""
        self.program += words.reshape(-1).view("<u8").tolist()
        waiting, room = len(self.program) - self.decoded, self.params.program_words
        if waiting > room:
            raise ProgramError(f"{waiting} words of program are in a memory of {room}")

    def _load(self, i: Instruction) -> None:
        p = self.params
        base, stride = self.address(i.fields, "base"), self.address(i.fields, "stride")
        if p.load_words > 1 and stride % p.banks != p.skew % p.banks:
            raise ProgramError(f"LOAD stride {stride} has write conflicts")
        count, sent, packed = (i.fields[k] for k in ("words", "stream_words", "packed"))
        if sent != count - (count // 4 if packed else 0):
            raise ProgramError(f"LOAD of {count} words from {sent} stream words")
        words = self.stream.take_words(sent)
        parts = words.reshape(sent, p.load_words, p.in_channels).view(np.int8).transpose(1, 0, 2)
        parts = restore_fourth(parts, count) if packed else parts
        for k in range(p.load_words):
            self.memory.write(base + k * stride + np.arange(count), 0, parts[k])

    def _walk(self, i: Instruction) -> Walk:
        try:
            return Walk.of(i.fields, self.params)
        except ValueError as error:
            raise ProgramError(str(error)) from error

    def _write_result(self, i: Instruction, index: np.ndarray, values: np.ndarray) -> None:
        """Stored values (pixels, channels) to the planes from out_base on, at byte_offset."""
        f, ci = i.fields, self.params.in_channels
        first, plane = f.get("byte_offset", 0), self.address(f, "out_plane")
        if f["out16"]:
            high, low = split16(values)
            parts = [(0, high), (self.address(f, "out_low"), low)]
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

    def _conv(self, i: Instruction) -> None:
        p, f = self.params, i.fields
        walk = self._walk(i)
        mode = f["mode"] + 1
        per_group = p.group_channels(mode)
        if p.write_words(mode) > 1 and self.address(f, "out_plane") % p.banks != p.skew % p.banks:
            raise ProgramError(f"CONV out_plane {self.address(f, 'out_plane')} has write conflicts")
        if f["slots"] != sum(b["tap_count"] for b in i.blocks):
            raise ProgramError(f"CONV slots {f['slots']} is not the sum of the blocks' taps")
        if not 0 <= f["n_groups"] * per_group - f["channels"] < per_group:
            raise ProgramError("CONV channels and n_groups disagree")
        if 2 * f["repeats"] > f["slots"]:
            raise ProgramError(f"CONV with {f['slots']} slots cannot repeat {f['repeats']}")
        if not f["half_from"] <= f["high_from"] <= stream_slots(f):
            raise ProgramError("CONV slots of half the inputs are out of order")
        tail = f["channels"] - (f["n_groups"] - 1) * per_group
        if not -(-tail // p.sub_columns) <= f["last_subgroups"] <= p.subgroups // mode:
            raise ProgramError(f"CONV last group of {f['last_subgroups']} column subgroups")
        slots, params = [], []
        for group in range(f["n_groups"]):
            subgroups, parts, taken = group_subgroups(f, p, group), [], 0
            block = self.stream.take_granules(p.some_param_granules(subgroups))
            params.append(unpack_params(block, subgroups * p.sub_columns))
            for half, count in slot_halves(f):
                size = slot_run(p, subgroups, half).granules
                raw = self.stream.take_granules(count * size).reshape(count, size)
                parts.append(unpack_slots(raw, p, subgroups, half))
                taken += count * size
            replayed = f["n_tiles"] > 1 or f["repeats"]
            if replayed and taken > p.weight_words * p.stream_granules:
                raise ProgramError("CONV weights of one group exceed the weight buffer")
            sent = np.concatenate(parts)
            slots.append(np.concatenate([sent, sent[len(sent) - f["repeats"] :]]))
        weight = np.concatenate(slots, axis=2)[..., : f["channels"]]
        bias, mult, shift = (
            np.concatenate([v[k] for v in params])[: f["channels"]] for k in range(3)
        )
        self.memory.begin_instruction()
        out = self.address(f, "out_base") + walk.out
        stored = np.empty((len(out), f["channels"]), np.int16)
        for part, sums in conv_sums(i, walk, weight, self.memory, p):
            stored[part] = requantise(
                sums, bias, mult, shift, -128 if f["zero"] else 0, f["lo"], f["hi"]
            )
        self._write_result(i, out, stored)

    def _pool(self, i: Instruction) -> None:
        p, f = self.params, i.fields
        walk = self._walk(i)
        if f["n_groups"] != f["n_blocks"] or f["byte_offset"] or f["mode"] or f["out16"]:
            raise ProgramError("POOL needs one group per block, whole words and mode 1")
        plane = self.address(f, "out_plane")
        out = self.address(f, "out_base") + walk.out
        self.memory.begin_instruction()
        results = [PoolMatrix(i, walk, self.memory, p).maximum(b) for b in range(f["n_blocks"])]
        for block, best in enumerate(results):
            self.memory.write(out + block * plane, 0, best)

    def _vector(self, i: Instruction) -> None:
        p, f = self.params, i.fields
        params = unpack_params(self.stream.take_granules(p.param_granules(1)), p.columns)
        bias, mult, shift = (v[: p.in_channels] for v in params)
        self.memory.begin_instruction()
        plane, out = self.address(f, "out_plane"), self.address(f, "out_base")
        index = out + np.arange(f["out_h"] * f["out_w"])
        results = []
        for block in range(f["n_blocks"]):
            sums = vector_sums(i, block, self.memory, p)
            results.append(
                requantise(sums, bias, mult, shift, -128 if f["zero"] else 0, f["lo"], f["hi"])
            )
        for block, values in enumerate(results):
            self._write_result(i, index + block * plane, values)

    def _store(self, i: Instruction) -> None:
        f = i.fields
        base, start = self.address(f, "base"), f["offset"] * BEAT_BYTES
        raw = self.memory.store(base, f["words"]).view(np.uint8).reshape(-1)
        if len(raw) % BEAT_BYTES or start + len(raw) > len(self.output):
            raise ProgramError(f"STORE of {len(raw)} bytes at {start} leaves the output region")
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
