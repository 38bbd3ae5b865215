"""Networks that exceed what one instruction takes, from ONNX to the program, bit for bit."""

from __future__ import annotations

from fpga_gen.contract.isa import MAX_BLOCKS, MAX_TAPS, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from tests.engines import SMALL
from tests.schedule.graphs import example
from tests.schedule.large_windows import large_windows


def test_global_pools_and_gemms_beyond_the_limits(tmp_path) -> None:
    item = large_windows(tmp_path, SMALL)
    assert max(t.height * t.width for t in item.graph.tensors.values()) > MAX_TAPS
    assert max(t.channels for t in item.graph.tensors.values()) > MAX_BLOCKS * SMALL.in_channels
    schedule = compile_schedule(item.graph, SMALL)
    outputs, maps = run_schedule(schedule, item.stored_input, trace=True)
    assert compare_maps(item.graph, item.values, maps) is None
    (name,) = item.graph.outputs
    assert (outputs[name] == item.values[name]).all()


def test_tables_stay_within_their_limits() -> None:
    for params in (SMALL, EngineParams()):
        for name in ("gemm", "kernel"):
            schedule = compile_schedule(example(name, params).graph, params)
            convs = [i for i in schedule.instructions if i.op == Op.CONV]
            assert max(i.slots for i in convs) > MAX_TAPS
            assert max(max(len(i.blocks), len(i.taps)) for i in convs) <= MAX_BLOCKS


def test_tables_are_short() -> None:
    """Planes of one map are a square of blocks and taps, not one block each."""
    schedule = compile_schedule(example("gemm", SMALL).graph, SMALL)
    last = [i for i in schedule.instructions if i.op == Op.CONV][-1]
    assert last.slots == 258
    assert len(last.blocks) + len(last.taps) <= 2 * 17
