"""Engines have tables only where the network needs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fpga_gen.boards import load_board
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.resources import estimate_resources, memory_blocks
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.sizing.choose import for_network
from fpga_gen.sizing.cycles import frame_work
from fpga_gen.sizing.search import find_engines
from fpga_gen.sizing.standin import standin
from tests.engines import SMALL, TABLES
from tests.frontend.activation_models import network, squeeze_and_excite

BOARD = load_board("zcu104")


def _graph(name: str, folder: Path) -> Graph:
    net = squeeze_and_excite("HardSigmoid") if name == "gate" else network(name)
    return optimise(import_onnx(net.save(folder)))


@pytest.mark.parametrize(
    ("name", "wanted"), [("silu", True), ("gate", True), ("PRelu by channel", False)]
)
def test_engines(name: str, wanted: bool, tmp_path: Path) -> None:
    graph = _graph(name, tmp_path)
    assert for_network(graph, TABLES).activations == wanted
    assert for_network(graph, SMALL).activations == wanted
    (found,) = find_engines(frame_work(graph), BOARD, "mixed", count=1)
    assert found.params.activations == wanted


def test_the_stand_in_has_its_tables(tmp_path: Path) -> None:
    """Different ones, so that its program is as long as that of the network."""
    graph = _graph("silu", tmp_path)
    found = standin(graph, TABLES)
    assert [bool(n.epilogue.table) for n in found.nodes] == [True, False]
    assert compile_schedule(found, TABLES).estimate.cycles > 0


def test_what_tables_cost() -> None:
    plain, tables = BOARD.array, replace(BOARD.array, activations=True)
    assert memory_blocks(tables)[1] - memory_blocks(plain)[1] == plain.requant_lanes / 2
    more = estimate_resources(tables).luts - estimate_resources(plain).luts
    assert 10 * plain.requant_lanes < more < 60 * plain.requant_lanes
