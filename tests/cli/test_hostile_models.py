"""Models of some hundred bytes that ask for hours or gigabytes: answered within seconds."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest
from onnx import TensorProto

from fpga_gen.worker import Limits, run_limited
from tests.frontend.onnx_models import Net

SECONDS, BYTES = 5, 1 << 30


def constants(net: Net) -> None:
    """Sixteen constants of half a gigabyte."""
    net.op("Add", "x", net.op("Sum", *[net.op("ConstantOfShape", net.ints(1 << 27))
                                       for _ in range(16)]))  # fmt: skip


def product(net: Net) -> None:
    """An outer product of four gigabytes."""
    a, b = (net.op("ConstantOfShape", net.ints(*s)) for s in ((1 << 15, 1), (1, 1 << 15)))
    net.op("Add", "x", net.op("MatMul", a, b))


def pool(net: Net) -> None:
    net.op("Resize", "x", "", "", net.ints(1, 3, 30000, 30))
    net.op("MaxPool", "n0", kernel_shape=[30000, 1], pads=[15000, 0, 14999, 0])


def average(net: Net) -> None:
    net.op("Resize", "x", "", "", net.ints(1, 3, 60000, 30))
    net.op("AveragePool", "n0", kernel_shape=[30000, 1], pads=[15000, 0, 14999, 0])


def interpolation(net: Net) -> None:
    y = net.op("Resize", "x", "", "", net.ints(1, 3, 60, 65536), mode="linear")
    net.conv(y, 3, 4)


def depthwise(net: Net) -> None:
    """Few weights, but a matrix of 38 gigabytes with the zeros between the groups."""
    y = net.op("Conv", "x", net.op("ConstantOfShape", net.ints(65536, 3, 1, 1)))
    net.op("Conv", y, net.op("ConstantOfShape", net.ints(65536, 1, 3, 3)), group=65536)


def pools(net: Net) -> None:
    """Three thousand pools before the question whether a map can be negative."""
    y = "x"
    for _ in range(3000):
        y = net.op("MaxPool", y, kernel_shape=[1, 1])
    y = net.op("Pad", y, net.ints(0, 0, 1, 1, 0, 0, 1, 1))
    net.op("MaxPool", y, kernel_shape=[3, 3])


def places(net: Net) -> None:
    """A channel for each pixel: as many pieces of a map, each compared with all others."""
    net.op("Resize", "x", "", "", net.ints(1, 3, 150, 140))
    y = net.op("Reshape", net.op("Relu", "n0"), net.ints(1, 63000, 1, 1))
    net.op("Conv", y, net.op("ConstantOfShape", net.ints(4, 63000, 1, 1)))


def doubled(net: Net) -> None:
    """Values that double with every node, with sums of a map and itself in between."""
    net.shape = (1, 24)
    y = net.op("Pad", "x", net.ints(0, 1, 0, 0))
    for k in range(40):
        y = net.op("Concat", y, y, axis=1) if k % 3 else net.op("Mul", y, y)


def strides(net: Net) -> None:
    """A phase for each pixel of a stride."""
    net.shape = (1, 3, 2, 2)
    net.op("ConvTranspose", "x", net.random(3, 4, 1, 1), strides=[3000, 3000])


def boxes(net: Net) -> None:
    """Boxes of eighty classes, of which none falls: each is compared with all others."""
    net.shape = (1, 4, 100, 100)
    places = net.op("Transpose", net.op("Reshape", "x", net.ints(1, 4, 10000)), perm=[0, 2, 1])
    scores = net.op("Reshape", net.conv("x", 4, 80, 1), net.ints(1, 80, 10000))
    net.op("NonMaxSuppression", places, scores, net.ints(1 << 30), net.const([1.0]))


def joins(net: Net) -> None:
    """Maps that are joined with themselves, so that paths double with every node."""
    y = net.op("Relu", "x")
    for _ in range(16):
        y = net.op("Concat", y, y, axis=1)
    y = net.op("Pad", y, net.ints(0, 0, 1, 1, 0, 0, 1, 1))
    net.op("MaxPool", y, kernel_shape=[3, 3])


MODELS: dict[Callable[[Net], None], str] = {
    constants: "makes more constants than a network needs",
    product: "makes a constant of 1073741824 elements",
    pool: "even a row at a time",
    average: "an average of 15000 values has no exact 8-bit weights",
    interpolation: "exceed the tables",
    depthwise: "weights are too many",
    pools: "zero-padded map that can be negative",
    places: "reshaped or reordered to 1x63000x1x1",
    doubled: "its result (1, 104857600) is too large",
    strides: "its stride [3000, 3000] makes 9000000 phases",
    boxes: "",  # can be built
    joins: "reshaped or reordered to 1x196608x9x11",
}


KINDS = {boxes: TensorProto.INT64}  # of outputs


@pytest.mark.parametrize("build", MODELS, ids=lambda f: f.__name__)
def test_small_models_cost_little(cli, tmp_path, build):
    net = Net()
    build(net)
    path = net.save(tmp_path, types={net.nodes[-1].output[0]: KINDS.get(build, TensorProto.FLOAT)})
    assert path.stat().st_size < 200_000

    def checked() -> tuple[str, float, int]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = cli("check", path, "--board", "zcu104")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert result.code == bool(MODELS[build]), result.err
        return result.err, after.ru_utime - before.ru_utime, after.ru_maxrss << 10

    # In a process of its own: the memory of children is the maximum of all there were.
    message, seconds, size = run_limited("test", Limits(60, 8 << 30), checked)
    assert MODELS[build] in message
    assert seconds < SECONDS
    assert size < BYTES
