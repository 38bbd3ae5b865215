"""The program interpreter rejects programs that break a rule of the hardware."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.address import pack_address, unpack_address
from fpga_gen.contract.isa import Instruction, Op
from fpga_gen.contract.numerics import U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.compile import compile_schedule, encode_program, program_region
from fpga_gen.schedule.execute.compare import compare_maps, first_mismatch
from fpga_gen.schedule.execute.interpreter import ProgramError, run_schedule
from fpga_gen.schedule.program import Schedule
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES, Builder, example


def edited(schedule: Schedule, op: Op, nth: int = 0, **fields) -> Schedule:
    """The schedule with fields of its nth instruction of one kind changed."""
    count = 0
    out: list[Instruction] = []
    for instruction in schedule.instructions:
        if instruction.op == op:
            if count == nth:
                instruction = replace(instruction, **fields)
            count += 1
        out.append(instruction)
    assert count > nth
    return replace(
        schedule,
        instructions=tuple(out),
        program=program_region(encode_program(out), schedule.params),
    )


def build(name: str) -> tuple[Schedule, np.ndarray]:
    item = example(name, SMALL)
    return compile_schedule(item.graph, SMALL), item.stored_input


@pytest.mark.parametrize(
    ("op", "nth", "change", "message"),
    [
        (Op.CONV, 0, {"wait": 0}, "not waited for"),
        (Op.CONV, 1, {"wait": 0}, "not waited for"),
        (Op.END, 0, {"wait": 0}, "END must wait"),
        (Op.CONV, 0, {"slots": 1}, "slots"),
        (Op.CONV, 0, {"lanes": 3}, "lanes"),
        (Op.CONV, 0, {"channels": 100}, "channels and n_groups"),
        (Op.CONV, 0, {"tile_groups": 64}, "tiles"),
        (Op.CONV, 0, {"long_tiles": 0}, "long_tiles"),
        (Op.CONV, 0, {"half_from": 19}, "out of order"),
        (Op.CONV, 0, {"half_from": 5, "high_from": 4}, "out of order"),
        (Op.CONV, 0, {"last_subgroups": 0}, "last group of 0 column subgroups"),
        (Op.CONV, 0, {"last_subgroups": 5}, "last group of 5 column subgroups"),
        (Op.CONV, 0, {"repeats": 10}, "cannot repeat 10"),
        (Op.LOAD, 0, {"words": 2, "stream_words": 2, "packed": 0}, "never written"),
        (Op.LOAD, 0, {"words": 2}, "LOAD of 2 words"),
        (Op.STORE, 0, {"offset": 10**6}, "leaves the output region"),
        (Op.STORE, 0, {"base": pack_address(8191, 4)}, "outside the memory"),
        (Op.FETCH, 1, {"words": 10**6}, "FETCH"),
    ],
)
def test_broken_rule(op: Op, nth: int, change: dict, message: str) -> None:
    schedule, image = build("conv3x3")
    run_schedule(schedule, image)
    with pytest.raises(ProgramError, match=message):
        run_schedule(edited(schedule, op, nth, **change), image)


def test_plane_stride_with_conflicts() -> None:
    schedule, image = build("conv3x3")
    conv = next(i for i in schedule.instructions if i.op == Op.CONV)
    plane = unpack_address(conv.out_plane, SMALL.banks) + 1
    broken = edited(schedule, Op.CONV, 0, out_plane=pack_address(plane, SMALL.banks))
    with pytest.raises(ProgramError, match="conflicts"):
        run_schedule(broken, image)


def test_words_of_a_load_in_banks_of_the_wrong_parity() -> None:
    """With two exit pixels a bank takes words of half the write slots."""
    params = replace(EngineParams(), exit_pixels=2)
    item = example("conv3x3", params)
    schedule = compile_schedule(item.graph, params)
    load = next(i for i in schedule.instructions if i.op == Op.LOAD)
    stride = unpack_address(load.stride, params.banks) + 1
    assert params.distinct_banks(params.load_offsets(stride))
    broken = edited(schedule, Op.LOAD, 0, stride=pack_address(stride, params.banks))
    with pytest.raises(ProgramError, match=f"LOAD stride {stride} has write conflicts"):
        run_schedule(broken, item.stored_input)


def test_result_over_its_own_operand() -> None:
    schedule, image = build("conv3x3")
    load = next(i for i in schedule.instructions if i.op == Op.LOAD)
    broken = edited(schedule, Op.CONV, 0, out_base=load.base)
    with pytest.raises(ProgramError, match="read and written by one instruction"):
        run_schedule(broken, image)


def test_what_is_stored_stays_until_the_next_store() -> None:
    b = Builder("wide", THREE_MODES)
    b.simple(b.input(9, 12, 12), 64, 3, U8)
    item = b.example()
    schedule, image = compile_schedule(item.graph, THREE_MODES), item.stored_input
    last = sum(i.op == Op.CONV for i in schedule.instructions) - 1
    stores = [i for i in schedule.instructions if i.op == Op.STORE]
    first = stores[-2]  # runs beside the last CONV
    broken = edited(schedule, Op.CONV, last, out_base=first.base)
    with pytest.raises(ProgramError, match="which a STORE may still be reading"):
        run_schedule(broken, image)
    # a STORE of nothing behind it: the words are free again
    at = schedule.instructions.index(stores[-2]) + 1
    gap = replace(first, words=0)
    instructions = (*broken.instructions[:at], gap, *broken.instructions[at:])
    program = program_region(encode_program(instructions), schedule.params)
    run_schedule(replace(broken, instructions=instructions, program=program), image)


def test_leftover_and_missing_weights() -> None:
    schedule, image = build("conv3x3")
    fetch = [i for i in schedule.instructions if i.op == Op.FETCH][1]
    short = edited(schedule, Op.FETCH, 1, words=fetch.words - 1)
    with pytest.raises(ProgramError, match="too early"):
        run_schedule(short, image)
    longer = replace(schedule, make_weights=lambda: schedule.weights + bytes(64))
    longer = edited(longer, Op.FETCH, 1, words=fetch.words + 1)
    with pytest.raises(ProgramError, match="not consumed"):
        run_schedule(longer, image)


def test_mismatch_is_named() -> None:
    item = example("conv3x3", SMALL)
    schedule = compile_schedule(item.graph, SMALL)
    _, maps = run_schedule(edited(schedule, Op.CONV, 1, hi=-5), item.stored_input, trace=True)
    found = compare_maps(item.graph, item.values, maps)
    assert found is not None
    assert (found.layer, found.tensor) == ("conv1", "t1")
    want, got = item.values["t1"], maps[-1].values
    at = (found.channel, found.row, found.column)
    assert (want[at], got[at]) == (found.expected, found.got)
    assert found.differing == (want != got).sum()
    raster = (want != got).transpose(1, 2, 0).reshape(-1)
    assert np.argmax(raster) == (found.row * want.shape[2] + found.column) * 6 + found.channel
    assert "row" in str(found)


def test_first_mismatch_counts_from_the_first_row() -> None:
    want = np.zeros((2, 3, 4), np.int8)
    got = want.copy()
    got[1, 2, 3] = 7
    found = first_mismatch(want, got, "t", "layer", first_row=10)
    assert found is not None
    assert (found.row, found.column, found.channel, found.got) == (12, 3, 1, 7)
    assert first_mismatch(want, want, "t", "layer") is None
