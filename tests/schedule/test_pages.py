"""Programs longer than the program memory: pages at any place, bit for bit; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpga_gen.contract.isa import (
    EndInstruction,
    FetchInstruction,
    Instruction,
    LoadInstruction,
    Op,
    VectorInstruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import ColumnEntry
from fpga_gen.schedule.compile import compile_schedule, encode_program, program_region
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import ProgramError, run_schedule
from fpga_gen.schedule.place.pages import cut_program
from fpga_gen.schedule.program import Schedule
from tests.engines import SMALL
from tests.schedule.graphs import EXAMPLES, THREE_MODES, Builder, example, random_example
from tests.schedule.paging import long_program, random_cuts

TINY = replace(SMALL, program_words=128)


def words_of(schedule: Schedule) -> int:
    return sum(i.encoded_words for i in schedule.instructions)


def check(item, schedule: Schedule) -> None:
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None
    for name, stored in outputs.items():
        np.testing.assert_array_equal(stored, item.values[name])


def test_program_three_times_the_memory() -> None:
    item = long_program(TINY)
    schedule = compile_schedule(item.graph, TINY)
    assert words_of(schedule) > 3 * TINY.program_words
    assert len(schedule.program) == 8 * TINY.program_words
    pages = [i.words for i in schedule.instructions if i.op == Op.PAGE]
    assert len(pages) >= 4
    brought = sum(pages) * TINY.program_parts
    assert 0 <= TINY.program_words + brought - words_of(schedule) < TINY.program_parts
    check(item, schedule)


def test_short_programs_have_no_pages() -> None:
    """The size of the memory changes nothing as long as the program fits."""
    item = long_program(SMALL)
    whole = compile_schedule(item.graph, replace(SMALL, program_words=4096))
    fits = 1 << (words_of(whole) - 1).bit_length()
    schedule = compile_schedule(item.graph, replace(SMALL, program_words=fits))
    assert not any(i.op == Op.PAGE for i in schedule.instructions)
    assert schedule.instructions == whole.instructions
    assert (schedule.program, schedule.weights) == (whole.program, whole.weights)
    half = compile_schedule(item.graph, replace(SMALL, program_words=fits // 2))
    assert [i for i in half.instructions if i.op not in (Op.PAGE, Op.FETCH)] == [
        i for i in whole.instructions if i.op != Op.FETCH
    ]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("params", [SMALL, THREE_MODES, EngineParams()], ids=str)
def test_examples_in_the_smallest_memory_that_takes_them(name, params) -> None:
    item = example(name, params)
    longest = max(i.encoded_words for i in compile_schedule(item.graph, params).instructions)
    small = replace(params, program_words=max(64, 1 << (longest + 8).bit_length()))
    check(item, compile_schedule(item.graph, small))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_pages_anywhere(seed) -> None:
    """Random sizes at random places, other than the compiler's own."""
    item = random_example(SMALL, seed % 40, nodes=6)
    plain = compile_schedule(item.graph, SMALL)
    longest = max(i.encoded_words for i in plain.instructions)
    small = replace(SMALL, program_words=max(64, 1 << (longest + 8).bit_length()))
    with random_cuts(seed):
        schedule = compile_schedule(item.graph, small)
    check(item, schedule)


def sized(size: int) -> Instruction:
    """An instruction of so many words."""
    if size < 3:
        return (EndInstruction(), LoadInstruction())[size - 1]
    return VectorInstruction(x=(ColumnEntry(),) * (size - 3))


@given(
    sizes=st.lists(st.integers(1, 120), min_size=3, max_size=200),
    ports=st.sampled_from([1, 2, 4]),
)
@settings(deadline=None)
def test_cuts_keep_the_rules(sizes, ports) -> None:
    """Nothing is overwritten before it is decoded, nothing is decoded before it came, and what
    comes is the program to its last stream word."""
    params = EngineParams(program_words=256, ports=ports)
    program = [sized(size) for size in sizes]
    assert [i.encoded_words for i in program] == sizes
    pages = {p.before: p.words for p in cut_program(program, params, {0})}
    per_word = params.program_parts
    at, loaded = 0, 256
    for index, size in enumerate(sizes):
        if index in pages:
            at += 1
            assert at <= loaded
            loaded += pages[index] * per_word
            assert loaded - at <= 256
        at += size
        assert at <= loaded
    if pages:
        assert 0 <= loaded - at < per_word
        assert min(pages) >= 1
    else:
        assert sum(sizes) <= 256


def test_program_without_weights_can_be_long() -> None:
    b = Builder("pools", SMALL)
    x = b.input(4, 40, 3)
    for _ in range(12):
        x = b.pool(x, 2, 1, (0, 0, 1, 1))
    item = b.example()
    params = replace(SMALL, program_words=64)
    schedule = compile_schedule(item.graph, params)
    assert any(i.op == Op.PAGE for i in schedule.instructions)
    check(item, schedule)


def edited(schedule: Schedule, change) -> Schedule:
    """The schedule with its PAGEs changed; the stream stays as it is."""
    words = encode_program([change(i) for i in schedule.instructions])
    first = schedule.params.program_words
    return replace(schedule, program=program_region(words[:first], schedule.params))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda words: words + 40, "words of program are in a memory of 128"),
        (lambda words: words - 12, "unknown opcode|truncated|CONV|too early"),
        (lambda words: 1 << 20, "too early"),
    ],
)
def test_bad_pages_are_refused(change, message) -> None:
    item = long_program(TINY)
    schedule = compile_schedule(item.graph, TINY)
    first = next(i for i in schedule.instructions if i.op == Op.PAGE)
    broken = edited(schedule, lambda i: replace(i, words=change(i.words)) if i is first else i)
    with pytest.raises(ProgramError, match=message):
        run_schedule(broken, item.stored_input)


def test_page_that_never_comes() -> None:
    """The program ends with the memory."""
    item = long_program(TINY)
    schedule = compile_schedule(item.graph, TINY)
    none = edited(
        schedule,
        lambda i: FetchInstruction() if i.op == Op.PAGE else i,
    )
    with pytest.raises(ProgramError, match=r"truncated|no END|END must wait"):
        run_schedule(none, item.stored_input)
