"""Maps that leave the chip: results, hazards of DRAM, pages among them, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.contract.isa import FetchInstruction, LoadInstruction, Op, Region, StoreInstruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.compile import compile_schedule, encode_program, program_region
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import ProgramError, run_schedule
from fpga_gen.schedule.program import Schedule
from tests.engines import SMALL
from tests.schedule.activations import beside, gate
from tests.schedule.foreign import foreign
from tests.schedule.graphs import THREE_MODES, Example, example, random_example
from tests.schedule.starved import EIGHT, ENGINES, NETWORKS, SIXTEEN, loads

CASES = [(key, name) for key, names in NETWORKS.items() for name in names]


def made(name: str | int, params) -> Example:
    return random_example(params, name) if isinstance(name, int) else example(name, params)


def with_program(schedule: Schedule, instructions) -> Schedule:
    program = program_region(encode_program(instructions), schedule.params)
    return replace(schedule, instructions=tuple(instructions), program=program)


@pytest.mark.parametrize(("key", "name"), CASES)
def test_every_map(key: str, name: str | int) -> None:
    """The interpreter, which refuses hazards, computes every map, loaded rows among them."""
    params = ENGINES[key]
    item = made(name, params)
    schedule = compile_schedule(item.graph, params)
    assert loads(schedule) > 1
    out, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None
    assert {m.tensor for m in maps} == set(item.values)
    for output in item.graph.outputs:
        assert np.array_equal(out[output], item.values[output])
    fetched = sum(i.words for i in schedule.instructions if isinstance(i, FetchInstruction))
    read = len(schedule.program) + fetched * params.stream_bits // 8
    assert schedule.estimate.read_bytes == read


def check(item: Example, params: EngineParams) -> None:
    schedule = compile_schedule(item.graph, params)
    assert loads(schedule) > 1
    _, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None
    assert {m.tensor for m in maps} == set(item.values)


def test_gates_and_tables() -> None:
    """One value a channel meets all rows of a band; TABLEs stand among the FETCHes."""
    params = replace(THREE_MODES, bank_rows=230, activations=True)
    check(gate(params, size=(19, 21)), params)
    params = replace(THREE_MODES, bank_rows=12, activations=True)
    check(beside(params), params)


def test_phases_of_a_transposed_convolution(tmp_path: Path) -> None:
    """Bands of interleaved rows."""
    params = replace(SMALL, bank_rows=200)
    check(foreign("transposed", params, tmp_path), params)


def test_a_network_that_fits_has_no_map_in_dram() -> None:
    schedule = compile_schedule(example("block", THREE_MODES).graph, THREE_MODES)
    fetches = [i for i in schedule.instructions if isinstance(i, FetchInstruction)]
    assert [i.region for i in fetches] == [Region.INPUT, Region.WEIGHTS]
    assert loads(schedule) == 1


def test_the_same_twice() -> None:
    graph = example("elementwise", EIGHT).graph
    first, second = (compile_schedule(graph, EIGHT) for _ in range(2))
    assert first.program == second.program
    assert first.weights == second.weights


def test_long_program_comes_in_pages() -> None:
    """Pages lie among weights, and those between the loads of maps."""
    item = example("block", SIXTEEN)
    params = replace(SIXTEEN, program_words=128)
    schedule = compile_schedule(item.graph, params)
    assert sum(i.op == Op.PAGE for i in schedule.instructions) > 2
    assert loads(schedule) > 1
    _, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None


@pytest.fixture(scope="module")
def spilled() -> tuple[Schedule, np.ndarray]:
    item = example("depthwise", EIGHT)
    schedule = compile_schedule(item.graph, EIGHT)
    run_schedule(schedule, item.stored_input)
    return schedule, item.stored_input


def _from_output(schedule: Schedule) -> list[int]:
    return [
        at
        for at, i in enumerate(schedule.instructions)
        if isinstance(i, FetchInstruction) and i.region == Region.OUTPUT
    ]


def _overlap(store, fetch: FetchInstruction, params: EngineParams) -> bool:
    """A STORE writes the first beat that a FETCH reads."""
    if not isinstance(store, StoreInstruction):
        return False
    return store.offset <= fetch.offset < store.offset + store.words // params.beat_words


def test_a_band_that_nobody_stored(spilled) -> None:
    schedule, image = spilled
    out = list(schedule.instructions)
    at = next(k for k, i in enumerate(out) if isinstance(i, StoreInstruction))
    out[at] = replace(out[at], words=EIGHT.beat_words)
    with pytest.raises(ProgramError, match="never written"):
        run_schedule(with_program(schedule, out), image)


def test_a_band_that_is_stored_too_late(spilled) -> None:
    schedule, image = spilled
    out = list(schedule.instructions)
    fetch = _from_output(schedule)[0]
    store = next(k for k, i in enumerate(out) if _overlap(i, out[fetch], EIGHT))
    assert store < fetch
    out.insert(store, out.pop(fetch))
    with pytest.raises(ProgramError, match="never written"):
        run_schedule(with_program(schedule, out), image)


def test_a_band_that_nobody_waited_for(spilled) -> None:
    """Stored, but perhaps not yet in DRAM."""
    schedule, image = spilled
    out = list(schedule.instructions)
    at = next(k for k in _from_output(schedule) if out[k].wait)
    out[at] = replace(out[at], wait=0)
    with pytest.raises(ProgramError, match="never written"):
        run_schedule(with_program(schedule, out), image)


@pytest.mark.parametrize("key", ENGINES)
def test_stores_run_beside_what_follows(key: str) -> None:
    """A FETCH waits for STOREs only where none behind that of its map did."""
    schedule = compile_schedule(example("elementwise", ENGINES[key]).graph, ENGINES[key])
    code = schedule.instructions
    fetches = _from_output(schedule)
    waiting = [at for at in fetches if code[at].wait]
    assert 0 < len(waiting) < len(fetches) / 3
    for at in fetches:
        stores = [k for k in range(at) if _overlap(code[k], code[at], schedule.params)]
        assert any(stores[-1] < k <= at for k in waiting)


def test_a_band_over_another(spilled) -> None:
    schedule, image = spilled
    stores = [k for k, i in enumerate(schedule.instructions) if isinstance(i, StoreInstruction)]
    out = list(schedule.instructions)
    first, second = out[stores[0]], out[stores[1]]
    out[stores[1]] = replace(second, offset=first.offset)
    with pytest.raises(ProgramError, match="where an earlier one wrote"):
        run_schedule(with_program(schedule, out), image)


def test_a_load_over_words_that_are_being_stored(spilled) -> None:
    """Until another STORE, or a FETCH of what was stored, has waited for it."""
    schedule, image = spilled
    out = list(schedule.instructions)
    at = next(
        k for k, i in enumerate(out[1:], 1)
        if i == StoreInstruction(layer=i.layer, wait=i.wait) and out[k - 1].words
    )  # fmt: skip
    load = next(i for i in out if isinstance(i, LoadInstruction))
    out[at] = replace(load, base=out[at - 1].base)  # instead of the STORE that waits for the other
    with pytest.raises(ProgramError, match="which a STORE may still be reading"):
        run_schedule(with_program(schedule, out), image)


def test_a_fetch_outside_the_region(spilled) -> None:
    schedule, image = spilled
    at = _from_output(schedule)[0]
    out = list(schedule.instructions)
    out[at] = replace(out[at], offset=1 << 20)
    with pytest.raises(ProgramError, match="of OUTPUT"):
        run_schedule(with_program(schedule, out), image)


def test_not_even_a_row_fits() -> None:
    params = replace(EIGHT, bank_rows=4)
    with pytest.raises(ScheduleError, match="even a row at a time"):
        compile_schedule(example("elementwise", params).graph, params)
