"""Tables of activations: their grid, their entries, and what they do to accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.isa import TABLE_ENTRIES
from fpga_gen.contract.numerics import I8, U8
from fpga_gen.errors import QuantError
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.curve import X, call, combined
from fpga_gen.graph.interpreter import run_float, sums_of
from fpga_gen.graph.ir import Activation
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.curves import SumSample, curve_table, sum_grid
from fpga_gen.quant.interpreter import compare, quantise_input, run_integer
from fpga_gen.quant.ir import QResample, QTensor
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.quant.serialise import load_quant_graph, quant_graph_bytes
from tests.engines import TABLES
from tests.frontend.activation_models import ACTIVATIONS, CHANNELS, GATES, OPSET, network, silu
from tests.frontend.onnx_models import Net

SILU = Activation.of(combined("mul", (X, call("sigmoid"))))
LEAST_DB = 30.0  # of the map behind a table
STEEP = {"Exp": 25.0, "Pow": 25.0, "ThresholdedRelu": 10.0}  # steps from level to level


def _sample(sums: np.ndarray) -> SumSample:
    sample = SumSample()
    sample.add(sums)
    return sample


def _out(scale: float, fmt=I8) -> QTensor:
    return QTensor("y", 1, 1, 1, scale, fmt)


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("fmt", [I8, U8])
def test_entries_are_the_rounded_results(shifted: bool, fmt) -> None:
    activation = Activation.of(call("sigmoid")) if fmt is U8 else SILU
    out = _out(1 / 255 if fmt is U8 else 0.05, fmt)
    sums = np.random.default_rng(0).normal(scale=4, size=10_000)
    grid = sum_grid("y", activation, out, _sample(sums), shifted)
    assert shifted or grid.offset == 0
    epilogue = Epilogue.through(curve_table(activation, grid, out), fmt)
    for level in range(-128, 128):
        real = float(activation.curve.apply(np.array(grid.scale * (level - grid.offset))))
        want = min(max(round(real / out.scale) + fmt.zero, fmt.lo), fmt.hi)
        tie = abs(real / out.scale % 1 - 0.5) < 1e-5
        assert abs(int(epilogue.apply(np.array(level))) - want) <= tie
    assert int(epilogue.apply(np.array(1000))) == epilogue.table[127]
    assert int(epilogue.apply(np.array(-1000))) == epilogue.table[128]
    assert len(epilogue.table) == TABLE_ENTRIES


def test_the_grid_spends_no_level_where_the_result_does_not_change() -> None:
    sums = np.linspace(-60, 12, 5000)
    grid = sum_grid("y", SILU, _out(12 / 127), _sample(sums), True)
    ends = grid.real(np.array([-128.0, 127.0]))
    assert -7 < ends[0] < -2
    assert 11 < ends[1] < 14


def test_an_offset_halves_the_step() -> None:
    sums = np.linspace(-1, 12, 5000)
    with_offset, without = (
        sum_grid("y", SILU, _out(12 / 127), _sample(sums), shifted) for shifted in (True, False)
    )
    assert with_offset.scale < 0.6 * without.scale


def test_a_clip_has_the_grid_of_its_output() -> None:
    assert sum_grid("y", Activation(0.0), _out(0.3), None, True).scale == 0.3


def test_an_undefined_result() -> None:
    root = Activation.of(call("power", 0.5))
    with pytest.raises(QuantError, match=r"tensor 'y'.*power\(x,0.5\) is not defined"):
        sum_grid("y", root, _out(0.1), _sample(np.linspace(-1, 4, 100)), True)


def _quantised(net, tmp_path: Path):
    graph = optimise(import_onnx(net.save(tmp_path)))
    rng = np.random.default_rng(3)
    images = [rng.normal(size=graph.host_input.model_shape).astype(np.float32) for _ in range(3)]
    return graph, images, quantise(graph, TABLES, images)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_accuracy(name: str, tmp_path: Path) -> None:
    """The integer network follows the float one; its file brings the tables back."""
    graph, images, qgraph = _quantised(network(name), tmp_path)
    values = run_float(graph, images[0])
    stored = run_integer(qgraph, quantise_input(qgraph, images[0]))
    found = compare(qgraph, values, stored)
    assert min(found.values()) > STEEP.get(name, LEAST_DB), found
    assert sums_of(graph.nodes[0].output) in values or name not in graph.nodes
    again = load_quant_graph(quant_graph_bytes(qgraph), tmp_path / "quantised.npz")
    assert [n.epilogue for n in again.nodes] == [n.epilogue for n in qgraph.nodes]


@pytest.mark.parametrize("gate", GATES)
def test_accuracy_of_gates(gate: str, tmp_path: Path) -> None:
    graph, images, qgraph = _quantised(GATES[gate](), tmp_path)
    stored = run_integer(qgraph, quantise_input(qgraph, images[0]))
    found = compare(qgraph, run_float(graph, images[0]), stored)
    assert min(found.values()) > LEAST_DB, found


def test_a_table_behind_a_map_is_indexed_by_its_bytes(tmp_path: Path) -> None:
    """No rounding in front of it."""
    net = Net(shape=(1, 3, 9, 11), opset=OPSET)
    x = net.conv("x", 3, CHANNELS)
    net.op("Add", net.conv(silu(net, x), CHANNELS, 5, 1), net.conv(x, CHANNELS, 5))
    _, images, qgraph = _quantised(net, tmp_path)
    copy = next(n for n in qgraph.nodes if isinstance(n, QResample))
    assert qgraph.tensors[copy.input].format == I8
    stored = run_integer(qgraph, quantise_input(qgraph, images[0]))
    table = np.array(copy.epilogue.table)
    np.testing.assert_array_equal(stored[copy.output], table[stored[copy.input].astype(int) % 256])


def test_tables_stay_8_bit(tmp_path: Path) -> None:
    graph = optimise(import_onnx(network("silu").save(tmp_path)))
    name = graph.nodes[0].output
    with pytest.raises(QuantError, match="comes out of a table"):
        quantise(graph, TABLES, None, options=QuantOptions(wide_tensors=(name,)))
    narrow = quantise(graph, TABLES, None, options=QuantOptions(activation_target_db=200.0))
    assert name not in narrow.facts["wide_tensors"]
