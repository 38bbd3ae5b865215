"""Operators that only move elements, in front of, between and behind those that compute."""

import numpy as np
import pytest

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.frontend.view import (
    expanded,
    joined,
    nested,
    outside,
    padded,
    reshaped,
    taken,
    transposed,
    whole,
)
from fpga_gen.graph.ir import Concat, Conv, Resample, Select
from tests.frontend.onnx_models import Net, assert_like_onnxruntime

ZERO = -5


def _values(view) -> np.ndarray:
    address = view.addresses()
    return np.where(outside(address), ZERO, address)


def _random_step(rng, view, array):
    """One move, of a view and of an array that holds its addresses."""
    axis = int(rng.integers(array.ndim))
    match rng.integers(6):
        case 0:
            order = rng.permutation(array.ndim)
            return transposed(view, order), array.transpose(order)
        case 1:
            sizes, rest = [], array.size
            while rest > 1:
                factor = int(rng.choice([d for d in range(1, rest + 1) if rest % d == 0]))
                sizes, rest = [*sizes, factor], rest // factor
            found = reshaped(view, sizes or [1])
            return (view, array) if found is None else (found, array.reshape(sizes or [1]))
        case 2:
            index = rng.integers(0, array.shape[axis], rng.integers(1, array.shape[axis] + 1))
            return taken(view, axis, index), np.take(array, index, axis)
        case 3:
            before, after = rng.integers(0, 2, (2, array.ndim))
            pairs = list(zip(before, after, strict=True))
            return padded(view, before, after), np.pad(array, pairs, constant_values=ZERO)
        case 4:
            found = joined([view, taken(view, axis, slice(0, 1))], axis)
            return found, np.concatenate([array, np.take(array, [0], axis)], axis)
    ones = [n for n in range(array.ndim) if array.shape[n] == 1]
    shape = [3 if n in ones else d for n, d in enumerate(array.shape)]
    return expanded(view, shape), np.broadcast_to(array, shape)


@pytest.mark.parametrize("seed", range(8))
def test_moves_like_numpy(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        shape = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 6], rng.integers(1, 5)))
        view, array = whole(7, shape), np.arange(np.prod(shape)).reshape(shape) + 7
        for _ in range(4):
            view, array = _random_step(rng, view, array)
            assert np.array_equal(_values(view), array)
            counters = nested(view)
            if counters is not None:
                start, sizes, steps = counters
                address = np.full((), start)
                for size, step in zip(sizes, steps, strict=True):
                    address = np.add.outer(address, np.arange(size) * step)
                assert np.array_equal(address.reshape(array.shape), array)


def _kinds(graph) -> list[type]:
    return [type(n) for n in graph.nodes]


def test_channels_last_model(tmp_path):
    """As exporters of channels-last frameworks write it: two Transposes, both gone."""
    net = Net((1, 9, 11, 3))
    y = net.op("Transpose", "x", perm=[0, 3, 1, 2])
    y = net.op("Relu", net.conv(y, 3, 4))
    y = net.op("Transpose", net.conv(y, 4, 5), perm=[0, 2, 3, 1])
    net.op("Softmax", y, axis=-1)
    graph = import_onnx(net.save(tmp_path))
    assert graph.host_input.model_shape == (3, 9, 11)
    assert graph.host_input.channels_last
    assert graph.host_input.array_shape == (1, 9, 11, 3)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph) == [Conv, Conv]
    assert [op.kind for op in graph.host_ops] == ["view", "softmax"]


def test_elementwise_between_transposes(tmp_path):
    """Normalisation, bias and activation on channels-last tensors inside the network."""
    net = Net((1, 9, 11, 3))
    y = net.op("Sub", "x", net.const([0.1, 0.2, 0.3]))
    y = net.op("Mul", y, net.const(2.0))
    y = net.conv(net.op("Transpose", y, perm=[0, 3, 1, 2]), 3, 4)
    y = net.op("Transpose", y, perm=[0, 2, 3, 1])
    z = net.op("Relu", net.op("Add", y, net.random(4)))
    y = net.op("Add", z, y)
    net.conv(net.op("Transpose", y, perm=[0, 3, 1, 2]), 4, 2)
    assert_like_onnxruntime(net.save(tmp_path))


def test_dense_layer_after_a_channels_last_flatten(tmp_path):
    net = Net((1, 6, 5, 3))
    y = net.op("Relu", net.conv(net.op("Transpose", "x", perm=[0, 3, 1, 2]), 3, 4))
    y = net.op("Reshape", net.op("Transpose", y, perm=[0, 2, 3, 1]), net.ints(-1, 120))
    net.op("MatMul", y, net.random(120, 7))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph) == [Conv, Conv]


@pytest.mark.parametrize("form", ["tokens", "channels last", "left"])
def test_matrix_on_every_pixel(form, tmp_path):
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 4))
    if form == "tokens":
        y = net.op("Transpose", net.op("Reshape", y, net.ints(1, 4, 99)), perm=[0, 2, 1])
        y = net.op("Add", net.op("MatMul", y, net.random(4, 6)), net.random(6))
        y = net.op("Transpose", y, perm=[0, 2, 1])
    elif form == "channels last":
        y = net.op("MatMul", net.op("Transpose", y, perm=[0, 2, 3, 1]), net.random(4, 6))
        y = net.op("Transpose", y, perm=[0, 3, 1, 2])
    else:
        y = net.op("MatMul", net.random(6, 4), net.op("Reshape", y, net.ints(1, 4, 99)))
    net.conv(net.op("Reshape", y, net.ints(1, 6, 9, 11)), 6, 2)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert set(_kinds(graph)) == {Conv}


def test_split_and_concat_are_read_in_place(tmp_path):
    """A cross-stage block: halves of a map, one of them through convolutions, joined again."""
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 8))
    net.nodes.append(_split(net, y, ["left", "right"], [4, 4]))
    z = net.op("Relu", net.conv("right", 4, 4))
    y = net.op("Concat", "left", "right", z, axis=1)
    net.conv(y, 12, 5, k=1)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph).count(Conv) == 3
    assert Select in _kinds(graph)
    assert Resample not in _kinds(graph)


def _split(net: Net, x: str, outputs: list[str], sizes: list[int], axis: int = 1):
    from onnx import helper

    return helper.make_node("Split", [x, net.ints(*sizes)], outputs, name="split", axis=axis)


def test_split_without_sizes(tmp_path):
    from onnx import helper

    net = Net(opset=18)
    y = net.conv("x", 3, 7)
    net.nodes.append(
        helper.make_node("Split", [y], ["a", "b", "c"], name="split", axis=1, num_outputs=3)
    )
    net.op("Concat", net.op("Relu", "c"), "a", "b", axis=1)
    assert_like_onnxruntime(net.save(tmp_path))


def test_channel_shuffle(tmp_path):
    """ShuffleNet: nothing is copied, the convolution behind it knows where its channels are."""
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 12))
    y = net.op("Reshape", y, net.ints(1, 3, 4, 9, 11))
    y = net.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = net.op("Reshape", y, net.ints(1, 12, 9, 11))
    net.conv(y, 4, 6, group=3)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph) == [Conv, Select, Conv]


def test_shuffled_halves(tmp_path):
    """ShuffleNetV2: each block halves, joins and shuffles what the one before has shuffled."""
    net = Net()
    x = net.op("Relu", net.conv("x", 3, 8))
    for block in range(3):
        net.nodes.append(_split(net, x, [f"l{block}", f"r{block}"], [4, 4]))
        net.nodes[-1].name = f"split{block}"
        y = net.op("Relu", net.conv(f"r{block}", 1, 4, group=4))
        y = net.op("Concat", f"l{block}", y, axis=1)
        y = net.op("Reshape", y, net.ints(1, 2, 4, 9, 11))
        y = net.op("Transpose", y, perm=[0, 2, 1, 3, 4])
        x = net.op("Reshape", y, net.ints(1, 8, 9, 11))
    net.conv(x, 8, 3)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph).count(Conv) == 5


def test_crop_of_a_larger_map_is_joined(tmp_path):
    """The skip of a U-Net without padding."""
    net = Net()
    y = net.op("Relu", net.conv("x", 3, 4))
    crop = net.op("Slice", y, net.ints(1, 1), net.ints(8, 10), net.ints(2, 3))
    z = net.op("Relu", net.conv(y, 4, 5, pads=[0, 0, 0, 0]))
    net.conv(net.op("Concat", crop, z, axis=1), 9, 2)
    assert_like_onnxruntime(net.save(tmp_path))


def test_gathered_channels(tmp_path):
    net = Net()
    bgr = net.op("Gather", "x", net.ints(2, 1, 0), axis=1)
    y = net.op("Relu", net.conv(bgr, 3, 8))
    one = net.op("Gather", y, net.const(3, np.int64), axis=1)
    twice = net.op("Gather", y, net.ints(1, 1, 5), axis=1)
    y = net.op("Concat", net.op("Unsqueeze", one, net.ints(1)), twice, axis=1)
    net.conv(y, 4, 2)
    assert_like_onnxruntime(net.save(tmp_path))


@pytest.mark.parametrize("block", [2, 3])
@pytest.mark.parametrize("form", ["SpaceToDepth", "slices", "reshape"])
def test_space_to_depth_is_a_strided_convolution(form, block, tmp_path):
    net = Net((1, 3, 12, 18))
    y = net.op("Relu", net.conv("x", 3, 4))
    if form == "SpaceToDepth":
        y = net.op("SpaceToDepth", y, blocksize=block)
    elif form == "slices":
        parts = [
            net.op("Slice", net.op("Slice", y, net.ints(i), net.ints(99), net.ints(2),
                                   net.ints(block)),
                   net.ints(j), net.ints(99), net.ints(3), net.ints(block))
            for j in range(block) for i in range(block)
        ]  # fmt: skip
        y = net.op("Concat", *parts, axis=1)
    else:
        y = net.op("Reshape", y, net.ints(1, 4, 12 // block, block, 18 // block, block))
        y = net.op("Transpose", y, perm=[0, 1, 3, 5, 2, 4])
        y = net.op("Reshape", y, net.ints(1, 4 * block**2, 12 // block, 18 // block))
    net.conv(y, 4 * block**2, 5, k=3)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert _kinds(graph) == [Conv, Conv]
    (term,) = graph.nodes[1].terms
    assert (term.kernel, term.stride) == ((3 * block,) * 2, (block,) * 2)


CROPS = [
    ([0, 2, 1, 3], [2, 7, 9, 9]),
    ([0, 0, 0, 0], [3, 3, 5, 11]),
    ([1, 0, 4, 0], [3, 3, 9, 10]),
]


@pytest.mark.parametrize("reader", ["conv", "strided", "pool", "add", "padded"])
@pytest.mark.parametrize("crop", CROPS, ids=str)
def test_crop(crop, reader, tmp_path):
    starts, ends = crop
    net = Net((1, 4, 9, 11))
    y = net.op("Relu", net.conv("x", 4, 4))
    y = net.op("Slice", y, net.ints(*starts[1:]), net.ints(*ends[1:]), net.ints(1, 2, 3))
    channels = min(ends[1], 4) - starts[1]
    if reader == "conv":
        net.conv(y, channels, 3, pads=[0, 0, 0, 0], k=2)
    elif reader == "strided":
        net.conv(y, channels, 3, k=3, strides=[2, 1], pads=[0, 0, 0, 0])
    elif reader == "padded":
        net.conv(y, channels, 3, k=3)
    elif reader == "pool":
        net.op("MaxPool", y, kernel_shape=[2, 2])
    else:
        net.op("Add", y, net.op("Relu", net.op("Mul", y, net.const(-0.5))))
    assert_like_onnxruntime(net.save(tmp_path))


def test_negative_padding_crops(tmp_path):
    net = Net()
    y = net.op("Pad", net.conv("x", 3, 4), net.ints(0, 0, -1, 2, 0, 0, -2, -3))
    net.conv(y, 4, 2)
    assert_like_onnxruntime(net.save(tmp_path))


def test_rows_as_channels(tmp_path):
    """A reshape that makes channels of bands of rows."""
    net = Net()
    net.conv(net.op("Reshape", "x", net.ints(1, 9, 3, 11)), 9, 2)
    assert_like_onnxruntime(net.save(tmp_path))


def test_zero_channels(tmp_path):
    """The shortcut of a residual block without parameters: fewer pixels, more channels of zeros."""
    net = Net((1, 4, 8, 8))
    x = net.op("Relu", net.conv("x", 4, 4))
    short = net.op("Slice", x, net.ints(0, 0), net.ints(99, 99), net.ints(2, 3), net.ints(2, 2))
    short = net.op("Pad", short, net.ints(0, 2, 0, 0, 0, 2, 0, 0))
    y = net.conv(x, 4, 8, strides=[2, 2])
    net.op("Relu", net.op("Add", y, short))
    assert_like_onnxruntime(net.save(tmp_path))


def test_flipped_rows(tmp_path):
    net = Net()
    y = net.op("Slice", net.conv("x", 3, 4), net.ints(-1), net.ints(-99), net.ints(2), net.ints(-1))
    net.conv(y, 4, 2)
    assert_like_onnxruntime(net.save(tmp_path))


def test_one_dimensional_network(tmp_path):
    """Keyword spotting: Conv1d, strides, pooling, batch norm and a dense layer."""
    net = Net((1, 8, 30))
    weight = net.const(net.rng.normal(size=(6, 8, 3)))
    y = net.op("Conv", "x", weight, net.random(6), pads=[1, 1], strides=[2])
    y = net.op("Relu", net.batch_norm(y, 6))
    y = net.op("MaxPool", y, kernel_shape=[2], strides=[2])
    depthwise = net.const(net.rng.normal(size=(6, 1, 5)))
    y = net.op("Conv", y, depthwise, group=6, dilations=[1], pads=[2, 2])
    y = net.op("Squeeze", net.op("GlobalAveragePool", y), net.ints(2))
    net.op("Gemm", y, net.random(6, 3), net.random(3))
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert graph.tensors["x"].shape == (8, 1, 30)


def test_vector_input(tmp_path):
    net = Net((1, 20))
    y = net.op("Relu", net.op("Gemm", "x", net.random(20, 8), net.random(8)))
    net.op("Gemm", y, net.random(8, 3))
    assert_like_onnxruntime(net.save(tmp_path))


def test_mixture_of_channels_and_pixels_is_refused(tmp_path):
    net = Net((1, 4, 8, 8))
    y = net.op("Transpose", net.conv("x", 4, 4), perm=[0, 2, 1, 3], name="culprit")
    net.conv(y, 8, 3)
    with pytest.raises(UnsupportedModel, match="reshaped or reordered to 1x8x4x8"):
        import_onnx(net.save(tmp_path))


def test_concat_of_parts(tmp_path):
    net = Net()
    a, b = net.op("Relu", net.conv("x", 3, 6)), net.op("Relu", net.conv("x", 3, 5))
    parts = [
        net.op("Slice", a, net.ints(4), net.ints(6), net.ints(1)),
        b,
        net.op("Slice", a, net.ints(0), net.ints(3), net.ints(1)),
    ]
    y = net.op("MaxPool", net.op("Concat", *parts, axis=1), kernel_shape=[2, 2])
    net.conv(y, 10, 4)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert Concat in _kinds(graph)
