"""Zero skipping: every map right, less work and fewer bytes, and no group without a slot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.isa import MAX_LIST, ConvInstruction, Op, decode_program
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import GroupHead
from fpga_gen.contract.weight_stream import pack_head
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.interpreter import ProgramError, run_program
from fpga_gen.schedule.program import Schedule
from fpga_gen_host.regions import pack_input, stripe, unstripe
from tests.engines import SMALL
from tests.schedule.graphs import DOUBLE_CLOCK, THREE_MODES, example
from tests.schedule.graphs import EXAMPLES as DENSE
from tests.schedule.test_program import check
from tests.schedule.zeros import EXAMPLES, random_zeros, zero_example

ENGINES = {
    "small": SMALL,
    "three": THREE_MODES,
    "double": DOUBLE_CLOCK,
    "default": EngineParams(),
}


def convs(schedule: Schedule) -> list[ConvInstruction]:
    return [i for i in schedule.instructions if isinstance(i, ConvInstruction)]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("engine", ENGINES)
def test_patterns(name: str, engine: str) -> None:
    params = ENGINES[engine]
    item = zero_example(name, params)
    skipping = check(item, params)
    assert any(i.list_words for i in convs(skipping)), "nothing was skipped"
    dense = compile_schedule(item.graph, params, skip=False)
    assert not any(i.list_words for i in convs(dense))
    assert skipping.estimate.cycles < dense.estimate.cycles
    assert skipping.estimate.read_bytes <= dense.estimate.read_bytes


@pytest.mark.parametrize("engine", ["small", "three", "double"])
def test_random_patterns(engine: str) -> None:
    for seed in range(20):
        check(random_zeros(ENGINES[engine], seed), ENGINES[engine], seed)


@pytest.mark.parametrize("name", DENSE)
def test_dense_layers_have_no_lists(name: str) -> None:
    """A layer without zero slots costs nothing; grouped ones and sums have zeros by nature."""
    if name in ("depthwise", "grouped", "sums"):
        return
    schedule = compile_schedule(example(name, THREE_MODES).graph, THREE_MODES)
    assert not any(i.list_words for i in convs(schedule))


def test_long_lists_are_cut() -> None:
    schedule = compile_schedule(zero_example("many-slots", THREE_MODES).graph, THREE_MODES)
    listed = [i for i in convs(schedule) if i.list_words]
    assert len(listed) > 1
    assert max(len(i.lists) for i in listed) <= MAX_LIST
    assert sum(sum(len(g) for g in i.group_lists) for i in listed) > MAX_LIST


def test_a_program_carries_the_lists_and_the_stream_the_heads() -> None:
    schedule = compile_schedule(zero_example("holes", SMALL).graph, SMALL)
    words = unstripe(schedule.program, SMALL.ports).reshape(-1).view("<u8").tolist()
    decoded = [i for i in decode_program(words) if i.op == Op.CONV]
    for was, now in zip(convs(schedule), decoded, strict=True):
        assert (was.lists, was.list_words) == (now.lists, now.list_words)
        assert [len(g) for g in now.group_lists] == [h.slots for h in was.heads]
        assert now.heads == ()


def spoilt(schedule: Schedule, **changes) -> Schedule:
    """The schedule with fields of its first CONV with lists changed."""
    index = next(n for n, i in enumerate(schedule.instructions) if getattr(i, "list_words", 0))
    code = [list(i.encode()) for i in schedule.instructions]
    code[index] = replace(schedule.instructions[index], **changes).encode()
    words = [word for part in code for word in part]
    words += [0] * (-len(words) % schedule.params.program_parts)
    raw = np.array(words, "<u8").view(np.uint8).reshape(-1, schedule.params.ports * 16)
    return replace(schedule, program=stripe(raw, schedule.params.ports))


def run(schedule: Schedule, image: np.ndarray) -> None:
    run_program(
        schedule.params, schedule.program, schedule.weights,
        pack_input(schedule.host_input, image), schedule.host_output.bytes,
    )  # fmt: skip


def test_the_interpreter_refuses_wrong_lists() -> None:
    item = zero_example("wide", SMALL)
    schedule = compile_schedule(item.graph, SMALL)
    conv = next(i for i in convs(schedule) if i.list_words)
    entries = list(conv.lists)
    ends = [n for n, e in enumerate(entries) if e.final]

    def refused(match: str, lists: list) -> None:
        with pytest.raises(ProgramError, match=match):
            run(spoilt(schedule, lists=tuple(lists)), item.stored_input)

    run(spoilt(schedule), item.stored_input)
    refused("lists tap", [replace(entries[0], block=conv.n_blocks), *entries[1:]])
    refused("lists a slot twice", [entries[1], *entries[1:]])
    refused("slot lists for", [replace(e, final=0) for e in entries])
    shorter = list(entries)
    shorter[0] = replace(entries[0], final=1)
    refused("slot lists|slots, has", shorter)
    back = list(entries)
    back[0], back[ends[0]] = replace(entries[ends[0]], final=0), replace(entries[0], final=1)
    refused("low bytes must come last", back)


def test_a_head_of_another_group_is_noticed() -> None:
    item = zero_example("holes", SMALL)
    schedule = compile_schedule(item.graph, SMALL)
    head = next(i for i in convs(schedule) if i.list_words).heads[0]
    raw = unstripe(schedule.weights, SMALL.ports).reshape(-1)
    code = pack_head(head).tobytes()
    at = bytes(raw).find(code)
    assert at >= 0
    other = pack_head(GroupHead(head.slots + 1, head.half_from, head.high_from, head.repeats))
    raw = raw.copy()
    raw[at : at + len(code)] = np.frombuffer(other.tobytes(), np.uint8)
    weights = stripe(raw.reshape(-1, SMALL.ports * 16), SMALL.ports)
    with pytest.raises(ProgramError, match="slots, has"):
        run(replace(schedule, make_weights=lambda: weights), item.stored_input)
