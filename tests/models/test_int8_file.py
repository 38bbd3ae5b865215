"""Files with int8 weights. No PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.graph.ir import Conv
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS
from fpga_gen.pruning.onnx_weights import OnnxWeights
from fpga_gen_models import int8_file
from tests.cli.networks import write_model


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.onnx", channels=48, size=48)


def test_int8_weights(network, tmp_path) -> None:
    small = tmp_path / "small.onnx"
    assert int8_file.main([str(network), str(small)]) == 0
    assert small.stat().st_size < 0.4 * network.stat().st_size
    first, second = (
        {n.name: n.terms[0].weight for n in import_untrusted(p).nodes if hasattr(n, "terms")}
        for p in (network, small)
    )
    for name, weight in first.items():
        step = np.abs(weight).reshape(len(weight), -1).max(1)[:, None, None, None] / 127
        assert (np.abs(second[name] - weight) <= 0.501 * step).all()
    again = OnnxWeights(small)
    own = [again.of(n) for n in import_untrusted(small).nodes if isinstance(n, Conv)]
    # The first reads the picture and stays as it is.
    assert [layer is not None for layer in own] == [True, False, False]


def test_int8_weights_hinder_no_rewrite(tmp_path) -> None:
    """The normalisation of the picture, and a pair of convolutions that becomes one."""
    rng = np.random.default_rng(3)
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), f"w{n}")
        for n, shape in enumerate([(16, 3, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3), (1, 16, 1, 1)])
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["a"], pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], pads=[1] * 4),
        helper.make_node("Conv", ["e", "w3"], ["logits"]),
    ]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, depth, 12, 12])
        for name, depth in (("image", 3), ("logits", 1))
    ]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "net.onnx"
    path.write_bytes(int8_file.with_int8_weights(model).SerializeToString())
    imported = optimise(import_untrusted(path), NORMALISATIONS["imagenet"])
    terms = [t for n in imported.nodes if isinstance(n, Conv) for t in n.terms]
    assert [t.grid is None for t in terms] == [True, False, True]
    assert terms[2].weight.shape == (1, 16, 3, 3)
    assert imported.host_input.gain


def test_zeros_stay_zeros_in_int8(tmp_path) -> None:
    path = write_model(tmp_path / "net.onnx", channels=8)
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if t.name == "w1")
    weight = numpy_helper.to_array(tensor).copy()
    weight[:, :4, 1] = 0
    tensor.CopyFrom(numpy_helper.from_array(weight, "w1"))
    stored = int8_file.with_int8_weights(model)
    levels = next(t for t in stored.graph.initializer if t.name == "w1.int8")
    array = numpy_helper.to_array(levels)
    assert array.dtype == np.int8
    assert not array[:, :4, 1].any()
