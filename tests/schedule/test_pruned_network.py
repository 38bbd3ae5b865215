"""The pruned network of the repository: what zero skipping makes of it on the default engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fpga_gen.boards import load_board
from fpga_gen.contract.params import EngineParams
from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.sizing.standin import standin

MODEL = Path(__file__).parents[2] / "models/pretrained/pruned-hardnet-mseg.onnx"

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not MODEL.exists(), reason="the network is not in this checkout"),
]


def engine(board: str, dsp: int, sp2: int, double_clock: bool) -> EngineParams:
    default = load_board(board).default_array("mixed", double_clock)
    return replace(default, dsp_columns=dsp, sp2_columns=sp2)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return optimise(import_untrusted(MODEL), NORMALISATIONS["imagenet"])


@pytest.mark.parametrize(
    ("board", "columns", "double_clock", "most"),
    [
        ("zcu104", (24, 18), False, 935_000),
        ("zcu104", (48, 12), True, 725_000),
        ("kv260", (32, 4), True, 1_285_000),
    ],
)
def test_estimated_cycles(graph: Graph, board: str, columns, double_clock: bool, most: int) -> None:
    """The dense network takes 2.42, 1.79 and 3.02 million."""
    params = engine(board, *columns, double_clock)
    schedule = compile_schedule(standin(graph, params), params)
    cost = schedule.estimate
    assert cost.cycles <= most
    assert 0.6 * cost.macs < cost.skipped.macs < 0.68 * cost.macs
    if board == "zcu104":  # the KV260 computes bands of rows, and reads their weights again
        moved = cost.read_bytes + cost.write_bytes
        assert moved <= 1.1 * cost.lower_bound_bytes
