"""Tables of activations in programs: numbers, order, and what the interpreter refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fpga_gen.contract.isa import (
    IN_FLIGHT,
    MAX_LOOKUP,
    ConvInstruction,
    TableInstruction,
    VectorInstruction,
)
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.compile import compile_schedule, encode_program, program_region
from fpga_gen.schedule.execute.interpreter import ProgramError, run_program
from fpga_gen.schedule.program import Schedule
from fpga_gen_host.regions import pack_input
from tests.engines import SMALL, TABLES
from tests.schedule.activations import MANY, MODELS, NETWORKS, beside, chain, gate, of_model
from tests.schedule.graphs import THREE_MODES, Example, random_example
from tests.schedule.test_program import check

ENGINES = {"two-modes": TABLES, "three-modes": replace(THREE_MODES, activations=True)}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_networks(engine: str, name: str) -> None:
    check(NETWORKS[name](ENGINES[engine]), ENGINES[engine])


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, tmp_path: Path) -> None:
    check(of_model(MODELS[name](), TABLES, tmp_path), TABLES)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("engine", ENGINES)
def test_random_networks(engine: str, seed: int) -> None:
    params = ENGINES[engine]
    check(random_example(params, seed, 10, curves=MANY), params)


def run(example: Example, schedule: Schedule, instructions) -> None:
    """A changed program on the example's frame."""
    program = program_region(encode_program(instructions), schedule.params)
    packed = pack_input(schedule.host_input, example.stored_input)
    size = schedule.host_output.bytes
    run_program(schedule.params, program, schedule.weights, packed, size)


def test_a_resident_table_is_not_sent_again() -> None:
    example = gate(TABLES)
    schedule = compile_schedule(example.graph, TABLES)
    used = {n.epilogue.table for n in example.graph.nodes if n.epilogue.table}
    tables = [i for i in schedule.instructions if isinstance(i, TableInstruction)]
    assert len(tables) == len(used) > 1


def test_no_table_changes_under_results_on_their_way() -> None:
    """More tables than the engine holds, and writers that do not wait for each other."""
    schedule = compile_schedule(beside(TABLES).graph, TABLES)
    recent: list[int] = []
    filled = 0
    for i in schedule.instructions:
        if isinstance(i, TableInstruction):
            assert i.lookup not in recent[-IN_FLIGHT:]
            filled += 1
        elif isinstance(i, ConvInstruction | VectorInstruction):
            recent.append(i.lookup)
    assert filled > MAX_LOOKUP


def test_the_interpreter_refuses_a_table_in_use() -> None:
    example = chain(TABLES, 3)
    schedule = compile_schedule(example.graph, TABLES)
    run(example, schedule, schedule.instructions)
    convs = [i for i in schedule.instructions if isinstance(i, ConvInstruction) and i.lookup]
    table = next(i for i in schedule.instructions if isinstance(i, TableInstruction))
    at = schedule.instructions.index(convs[0]) + 1
    spoilt = list(schedule.instructions)
    spoilt.insert(at, replace(table, lookup=convs[0].lookup))
    with pytest.raises(ProgramError, match="may still index"):
        run(example, schedule, spoilt)


def test_the_interpreter_refuses_a_table_that_was_never_filled() -> None:
    example = chain(TABLES, 3)
    schedule = compile_schedule(example.graph, TABLES)
    spoilt = [i for i in schedule.instructions if not isinstance(i, TableInstruction)]
    with pytest.raises(ProgramError, match="never filled"):
        run(example, schedule, spoilt)


@pytest.mark.parametrize("make", [chain, gate])
def test_an_engine_without_tables(make) -> None:
    with pytest.raises(ScheduleError, match="use an engine with `activations`"):
        compile_schedule(make(SMALL).graph, SMALL)


def test_a_program_without_tables_is_the_same_on_both_engines() -> None:
    example = random_example(SMALL, 3)
    without, with_them = (compile_schedule(example.graph, p) for p in (SMALL, TABLES))
    assert without.program == with_them.program
    assert without.weights == with_them.weights
