"""Engines with two exit pixels: when the search takes them, what they cost, what they gain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from fpga_gen.boards import load_board
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.resources import estimate_resources
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.sizing.choose import choose_engines
from fpga_gen.sizing.cycles import frame_cycles, frame_work
from fpga_gen.sizing.standin import standin

BOARD = load_board("zcu104")
PAIR = replace(BOARD.array, exit_pixels=2)


def of_kernels(path: Path, kernel: int) -> Graph:
    """Four layers of 42 channels, 64x64 pixels; of 1x1 kernels the array has less work with each
    than the exit."""
    rng = np.random.default_rng(3)
    nodes, weights = [], []
    for n in range(4):
        shape = (42, 16 if n == 0 else 42, kernel, kernel)
        weights.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), f"w{n}"))
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [f"x{n}", f"w{n}"], [f"x{n + 1}"], pads=pads))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 64, 64])
        for name, channels in (("x0", 16), ("x4", 42))
    ]
    graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return optimise(import_onnx(path))


@pytest.fixture(scope="module", params=[1, 3])
def layers(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Graph]:
    """(kernel, network)."""
    path = tmp_path_factory.mktemp("model") / "layers.onnx"
    return request.param, of_kernels(path, request.param)


def test_what_leaves_sooner(layers: tuple[int, Graph]) -> None:
    """Layers of 1x1 gain, in both models, layers that keep the array busy do not."""
    kernel, graph = layers
    work = frame_work(graph)
    quick = [frame_cycles(work, p).total for p in (BOARD.array, PAIR)]
    whole = [compile_schedule(standin(graph, p), p).estimate.cycles for p in (BOARD.array, PAIR)]
    for one, two in (quick, whole):
        gain = 1 - two / one
        assert gain > 0.1 if kernel == 1 else 0 <= gain < 0.01


def test_the_search_weighs_them(layers: tuple[int, Graph]) -> None:
    """Never slower than without; asked for, it is there."""
    kernel, graph = layers
    board = load_board("kv260")
    found = {n: choose_engines(graph, board, "mixed", exit_pixels=n)[0] for n in (1, 2, None)}
    cycles = {n: candidate.scheduled for n, candidate in found.items()}
    assert cycles[None] == min(cycles[1], cycles[2])
    assert [found[n].params.exit_pixels for n in (1, 2)] == [1, 2]
    if kernel == 1:
        assert found[None].params.exit_pixels == 2


@pytest.mark.parametrize("board", ["zcu104", "kv260", "zc706"])
def test_what_they_cost(board: str) -> None:
    """A multiplier for every lane of the second row (two where it is too narrow), and logic; where
    one row is too short for two pixels of the vector unit, those of its second one."""
    one = load_board(board).array
    two = replace(one, exit_pixels=2)
    less, more = estimate_resources(one), estimate_resources(two)
    multipliers = one.row_lanes * (2 if one.family == "xc7" else 1)
    second = one.vector_taps * (one.in_channels + 1)  # a pixel's columns and their weights
    multipliers += second * (two.vector_pixels - one.vector_pixels)
    assert abs(more.dsps - less.dsps - multipliers) <= 1
    assert 200 * one.row_lanes < more.luts - less.luts < 600 * one.row_lanes
    assert (more.bram36, more.uram) == (less.bram36, less.uram)
