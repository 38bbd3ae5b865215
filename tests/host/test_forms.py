"""Models whose input is no (1, C, H, W) and whose end is a graph of operators, through a deploy
folder: the runtime takes the model's own arrays and gives the model's own results."""

from pathlib import Path

import numpy as np
import pytest

from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.quantise import quantise
from fpga_gen_host import load_deployment
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_host.prepare import InputPacker
from fpga_gen_host.regions import pack_input
from tests.engines import SMALL
from tests.frontend.onnx_models import Net, run_reference
from tests.host.deploy import write_deploy


def _channels_last() -> tuple[Net, tuple[str, ...]]:
    net = Net((1, 8, 10, 3))
    y = net.op("Relu", net.conv(net.op("Transpose", "x", perm=[0, 3, 1, 2]), 3, 6))
    a = net.op("Reshape", net.conv(y, 6, 4), net.ints(1, 4, -1))
    b = net.op("Reshape", net.conv(y, 6, 4, strides=[2, 2]), net.ints(1, 4, -1))
    joined = net.op("Transpose", net.op("Concat", a, b, axis=2), perm=[0, 2, 1])
    scores = net.op("Softmax", joined, axis=-1)
    return net, (scores, net.op("Mul", joined, net.random(1, 100, 1)))


def _length() -> tuple[Net, tuple[str, ...]]:
    net = Net((1, 5, 12))
    y = net.op("Conv", "x", net.random(4, 5, 3), pads=[1, 1])
    return net, (net.op("Sigmoid", y),)


FORMS = {"channels last": _channels_last, "length": _length}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_in_and_out(form: str, tmp_path: Path):
    net, outputs = FORMS[form]()
    path = net.save(tmp_path, *outputs)
    qgraph = quantise(optimise(import_onnx(path)), SMALL, None)
    d = load_deployment(write_deploy(tmp_path / "d", qgraph))
    array = np.random.default_rng(3).normal(size=net.shape).astype(np.float32)
    image = np.moveaxis(array[0], -1, 0) if form == "channels last" else array[0][:, None]
    stored = quantise_input(qgraph, image)
    for given in (array, array[0]):
        region = np.zeros(d.input.bytes, np.uint8)
        InputPacker(d).pack(given, region)
        assert region.tobytes() == pack_input(d.input, stored)

    values = run_integer(qgraph, stored)
    results = d.finish({name: values[name] for name in qgraph.outputs})
    real = {name: dequantise(qgraph, name, values[name]) for name in qgraph.outputs}
    expected = run_host_ops(qgraph, real)
    assert list(results) == list(outputs)
    for name, reference in zip(outputs, run_reference(path, array), strict=True):
        np.testing.assert_array_equal(results[name], expected[name])
        assert results[name].shape == reference.shape
        assert np.abs(results[name] - reference).max() < 0.1 * np.abs(reference).max() + 0.05


def test_a_view_beyond_its_maps_is_refused(tmp_path: Path):
    """A layout.json that is damaged reads no memory of others."""
    from fpga_gen_host.host_ops import HostOp, run_host_op

    op = HostOp("view", "y", {"start": 3, "sizes": [4], "steps": [2], "shape": [4]}, "", ("x",))
    with pytest.raises(ValueError, match="beyond its maps"):
        run_host_op(op, np.zeros(9, np.float32))
