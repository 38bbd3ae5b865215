"""The float interpreter against direct loops, host preparation and host operators."""

import numpy as np
import pytest

from fpga_gen.graph import interpreter
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Graph
from fpga_gen_host.errors import InputError
from fpga_gen_host.host_ops import HostOp, run_host_op, run_host_ops
from fpga_gen_host.model_input import HostInput, prepare_input
from tests.graph.graphs import RELU, Maker, outputs_of


def _conv_by_loops(x, term):
    top, left, bottom, right = term.pads
    x = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right)))
    out, per_group, kh, kw = term.weight.shape
    (sy, sx), (dy, dx) = term.stride, term.dilation
    height = (x.shape[1] - (kh - 1) * dy - 1) // sy + 1
    width = (x.shape[2] - (kw - 1) * dx - 1) // sx + 1
    y = np.zeros((out, height, width))
    for o in range(out):
        first = o // (out // term.groups) * per_group
        for i in range(height):
            for j in range(width):
                rows = slice(i * sy, i * sy + (kh - 1) * dy + 1, dy)
                columns = slice(j * sx, j * sx + (kw - 1) * dx + 1, dx)
                window = x[first : first + per_group, rows, columns]
                y[o, i, j] = (window * term.weight[o]).sum()
    return y


@pytest.mark.parametrize("budget", [1, 500, 8 << 20])
@pytest.mark.parametrize(
    "geometry",
    [
        {"k": 3},
        {"k": (2, 3), "stride": (2, 3), "pads": (0, 2, 1, 0)},
        {"k": 3, "dilation": (1, 3), "pads": (1, 3, 0, 2)},
        {"k": 3, "groups": 2},
        {"k": 1, "groups": 4},
        {"k": 3, "groups": 4, "stride": (2, 2)},
    ],
)
def test_conv(geometry, budget, monkeypatch):
    monkeypatch.setattr(interpreter, "COLUMN_BUDGET", budget)
    m = Maker((4, 7, 9))
    m.conv("x", 8 if geometry.get("groups") != 4 else 4, activation=RELU, **geometry)
    graph = m.graph()
    (node,) = graph.nodes
    image = m.rng.normal(size=(4, 7, 9)).astype(np.float32)
    want = _conv_by_loops(image, node.terms[0]) + node.bias[:, None, None]
    np.testing.assert_allclose(run_float(graph, image)[node.output], np.maximum(want, 0), atol=1e-4)


def test_max_pool_ignores_padding():
    m = Maker((2, 5, 4))
    m.pool("x", 3, 2, (1, 1, 1, 1))
    image = -1 - np.abs(m.rng.normal(size=(2, 5, 4))).astype(np.float32)
    got = run_float(m.graph(), image)["t0"]
    for i in range(3):
        for j in range(2):
            window = image[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            np.testing.assert_array_equal(got[:, i, j], window.max((1, 2)))


def test_all_tensors_are_returned():
    m = Maker()
    m.concat(m.mul(m.conv("x", 3), "x"), m.add("x", m.copy("x", RELU)))
    graph = m.graph()
    values = run_float(graph, np.ones((3, 8, 10), np.float32))
    assert set(values) == set(graph.tensors)
    assert {k: v.shape for k, v in values.items()} == {k: t.shape for k, t in graph.tensors.items()}
    assert all(v.dtype == np.float32 for v in values.values())


def test_prepare_input():
    image = np.arange(3 * 4 * 6, dtype=np.float32).reshape(3, 4, 6)
    assert prepare_input(HostInput((3, 4, 6)), image) is image
    packed = prepare_input(HostInput((3, 4, 6), 2), image)
    assert packed.shape == (12, 2, 3)
    for py, px, c, y, x in np.ndindex(2, 2, 3, 2, 3):
        assert packed[(py * 2 + px) * 3 + c, y, x] == image[c, 2 * y + py, 2 * x + px]


def test_wrong_image_size():
    m = Maker()
    m.conv("x", 2)
    with pytest.raises(InputError, match=r"\(3, 8, 8\), the model takes \(3, 8, 10\)"):
        run_float(m.graph(), np.zeros((3, 8, 8), np.float32))


def test_host_ops_work_on_their_own_output():
    m = Maker((1, 2, 2))
    a, b = m.copy("x"), m.copy("x", RELU)
    plain = m.graph(a, b)
    ops = (HostOp("sigmoid", a), HostOp("reshape", b, {"shape": [4]}), HostOp("argmax", b,
           {"axis": 0, "keepdims": False}))  # fmt: skip
    graph = Graph(
        plain.name, plain.input, plain.outputs, plain.tensors, plain.nodes, plain.host_input, ops,
        plain.output_names,
    )  # fmt: skip
    image = np.array([[[0, 1000], [-1000, 3]]], np.float32)
    got = run_host_ops(graph, run_float(graph, image))
    np.testing.assert_allclose(got["out0"][0, 0], [[0.5, 1], [0, 1 / (1 + np.exp(-3))]], atol=1e-6)
    assert got["out1"] == 1
    assert outputs_of(graph)[0].shape == (1, 2, 2)


def test_host_softmax_and_clip():
    x = np.array([[1000.0, 1000.0, -1000.0]], np.float32)
    soft = run_host_op(HostOp("softmax", "", {"axis": 1}), x)
    np.testing.assert_allclose(soft, [[0.5, 0.5, 0]])
    clipped = run_host_op(HostOp("clip", "", {"lo": None, "hi": 7.0}), x)
    np.testing.assert_array_equal(clipped, [[7, 7, -1000]])
