"""The compiled program, executed byte by byte, equals the integer interpreter bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.isa import Op, VectorInstruction, decode_program
from fpga_gen.contract.numerics import I16
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.interpreter import run_integer
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from fpga_gen.schedule.program import Schedule
from fpga_gen_host.regions import unstripe
from tests.engines import SMALL
from tests.schedule.graphs import (
    EXAMPLES,
    THREE_MODES,
    Builder,
    Example,
    example,
    identity_table,
    nearest_table,
    random_example,
)
from tests.schedule.hardnet import hardnet_mseg

WIDE_PORTS = replace(THREE_MODES, ports=2)
ENGINES = {"small": SMALL, "three": THREE_MODES, "ports": WIDE_PORTS, "default": EngineParams()}


def check(item: Example, params: EngineParams, seed: int = 1) -> Schedule:
    """Compile and run; every map and every output must be equal."""
    schedule = compile_schedule(item.graph, params)
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True, seed=seed)
    assert {m.tensor for m in maps} == set(item.graph.tensors)
    assert compare_maps(item.graph, item.values, maps) is None
    assert list(outputs) == list(item.graph.outputs)
    for name, stored in outputs.items():
        assert stored.dtype == item.values[name].dtype
        np.testing.assert_array_equal(stored, item.values[name])
    return schedule


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("engine", ENGINES)
def test_named_graph(name: str, engine: str) -> None:
    check(example(name, ENGINES[engine]), ENGINES[engine])


@pytest.mark.parametrize("engine", ["small", "three"])
def test_random_graphs(engine: str) -> None:
    for seed in range(25):
        check(random_example(ENGINES[engine], seed, nodes=8), ENGINES[engine], seed)


def test_other_input_than_the_calibrated_one() -> None:
    item = example("wide", SMALL)
    image = np.full_like(item.stored_input, -128)
    image[:, ::2] = 127
    values = run_integer(item.graph, image)
    schedule = compile_schedule(item.graph, SMALL)
    outputs, maps = run_schedule(schedule, image, trace=True)
    assert compare_maps(item.graph, values, maps) is None
    assert (outputs["t4"] == values["t4"]).all()


def test_examples_cover_the_instruction_set() -> None:
    """Every operator, every mode, both walks, 16-bit in and out, shifts, windows, offsets."""
    seen: set[str] = set()
    for engine in ("small", "three"):
        for name in EXAMPLES:
            params = ENGINES[engine]
            for i in compile_schedule(example(name, params).graph, params).instructions:
                seen.add(i.op.name)
                if i.op == Op.CONV:
                    seen.add(f"{engine} mode {i.array_mode}")
                    seen.add("row" if i.row_mode else "flat")
                    seen.add(f"stride {i.stride_x} lanes {'many' if i.lanes > 1 else 'one'}")
                    seen |= {"byte offset"} if i.byte_offset else set()
                    seen |= {"tiles"} if i.n_tiles > 1 else set()
                    seen |= {"uneven tiles"} if i.long_tiles < i.n_tiles else set()
                    seen |= {"groups"} if i.n_groups > 1 else set()
                    seen |= {"shift"} if any(b.shift for b in i.blocks) else set()
                    seen |= {"pad -128"} if any(b.pad for b in i.blocks) else set()
                    starts = {b.tap_start for b in i.blocks}
                    seen |= {"several tap lists"} if len(starts) > 1 else set()
                if i.op in (Op.CONV, Op.VECTOR):
                    seen.add(f"{i.op.name} out16={i.out16} zero={i.zero}")
                if i.op == Op.VECTOR:
                    seen.add(f"function {i.function} direct {i.direct}")
                    seen |= {f"wide {s.wide} zero {s.zero}" for s in i.sources}
    assert seen >= {
        "CONV", "POOL", "VECTOR", "LOAD", "STORE", "FETCH", "END", "row", "flat", "shift",
        "small mode 1", "small mode 2", "three mode 1", "three mode 2", "three mode 3",
        "stride 1 lanes one", "stride 1 lanes many", "stride 2 lanes many", "byte offset",
        "tiles", "uneven tiles", "groups", "pad -128", "several tap lists",
        "CONV out16=0 zero=0", "CONV out16=0 zero=1", "CONV out16=1 zero=0",
        "VECTOR out16=0 zero=0", "VECTOR out16=0 zero=1", "VECTOR out16=1 zero=0",
        "function 0 direct 0", "function 0 direct 1", "function 1 direct 1",
        "wide 0 zero 0", "wide 0 zero 1", "wide 1 zero 0",
    }  # fmt: skip


def test_program_bytes_decode_to_the_instructions() -> None:
    item = example("block", WIDE_PORTS)
    schedule = compile_schedule(item.graph, WIDE_PORTS)
    words = unstripe(schedule.program, WIDE_PORTS.ports).reshape(-1).view("<u8").tolist()
    decoded = list(decode_program(words))
    assert len(decoded) == len(schedule.instructions)
    for got, want in zip(decoded, schedule.instructions, strict=True):
        assert replace(got, layer=want.layer) == want
        assert len(got.encode()) == got.encoded_words
    assert len(schedule.program) % (16 * WIDE_PORTS.ports) == 0
    assert len(schedule.weights) % (16 * WIDE_PORTS.ports) == 0


def test_output_is_deterministic() -> None:
    item = example("block", SMALL)
    one, two = (compile_schedule(example("block", SMALL).graph, SMALL) for _ in range(2))
    assert (one.program, one.weights) == (two.program, two.weights)
    assert one == two
    assert item.graph.nodes[0].name == "conv0"


def test_tall_map_splits_the_row_table() -> None:
    """600 rows x 2 taps exceed one table: two VECTOR instructions write one map."""
    b = Builder("tall", SMALL)
    start = tuple(max(0, min(298, (i - 1) // 2)) for i in range(600))
    table = AxisTable(300, start, tuple((1 + i % 3, 3 - i % 3) for i in range(600)), 4)
    b.resample(b.input(6, 300, 2), table, identity_table(2), I16)
    schedule = check(b.example(), SMALL)
    assert sum(i.op == Op.VECTOR for i in schedule.instructions) == 2


@pytest.mark.parametrize("params", [SMALL, EngineParams()], ids=["small", "default"])
def test_wide_map_tells_its_rows_in_parts(params: EngineParams) -> None:
    """1,206 columns exceed the table: the instruction has more, and shorter, rows."""
    b = Builder("wide", params)
    b.resample(b.input(3, 2, 402), nearest_table(2, 2), nearest_table(402, 3), I16)
    schedule = check(b.example(), params)
    vectors = [i for i in schedule.instructions if isinstance(i, VectorInstruction)]
    assert max(i.out_w for i in vectors) < 1206
    assert sum(i.out_h * i.out_w for i in vectors) == 4 * 1206


def test_hardnet_mseg_small_input() -> None:
    params = EngineParams()
    schedule = check(hardnet_mseg(params, 64), params)
    assert {layer.op for layer in schedule.layers} == {"load", "conv", "pool", "vector", "store"}


@pytest.mark.slow
def test_hardnet_mseg_fits_the_default_engine() -> None:
    params = EngineParams()
    schedule = check(hardnet_mseg(params, 352), params)
    assert schedule.memory.peak_words <= params.words
    assert schedule.estimate.utilisation > 0.7
