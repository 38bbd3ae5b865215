"""ONNX files: a valid model with some changes; what is accepted computes what onnxruntime does."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import examine_onnx
from fpga_gen.frontend.problems import problems_error
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.graph.verify import verify
from fpga_gen.worker import Limits, run_limited
from fpga_gen_host.host_ops import run_host_ops
from tests.frontend.onnx_models import Net, run_reference
from tests.fuzz.campaign import Different

LIMITS = Limits(10, 2 << 30)
TOLERANCE = 1e-3  # of the largest value of an output
NUMBERS = (-(1 << 63), -(1 << 31), -2, -1, 0, 1, 2, 3, 5, 7, 64, 1000, (1 << 31) - 1, (1 << 63) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3e38, float("inf"), float("nan"))
OPS = (
    "Conv", "Relu", "Clip", "Add", "Mul", "Sub", "Div", "MaxPool", "AveragePool", "Concat",
    "GlobalAveragePool", "Resize", "Pad", "Sigmoid", "Softmax", "ArgMax", "Transpose", "Reshape",
    "BatchNormalization", "Flatten", "Identity", "ReduceMean", "Neg", "Sum", "Squeeze", "Tanh",
)  # fmt: skip


def plain(net: Net) -> None:
    y = net.op("Relu", net.conv("x", 3, 6))
    y = net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    net.op("Sigmoid", net.conv(y, 6, 2, k=1))


def joined(net: Net) -> None:
    y = net.op("Clip", net.batch_norm(net.conv("x", 3, 4), 4), net.const(0.0), net.const(6.0))
    z = net.op("Relu", net.conv(y, 4, 4, group=4))
    net.op("Softmax", net.conv(net.op("Concat", y, z, axis=1), 8, 3), axis=1)


def pyramid(net: Net) -> None:
    y = net.op("Relu", net.conv("x", 3, 4, strides=[2, 2]))
    up = net.op("Resize", y, "", net.const([1, 1, 2, 2]), mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    net.op("AveragePool", net.conv(up, 4, 4), kernel_shape=[3, 3], strides=[2, 2])


def classifier(net: Net) -> None:
    y = net.op("Relu", net.conv("x", 3, 8, strides=[2, 2]))
    y = net.op("Flatten", net.op("GlobalAveragePool", net.op("Add", y, net.conv(y, 8, 8))))
    net.op("Gemm", y, net.random(5, 8), net.random(5), transB=1)


SEEDS: tuple[Callable[[Net], None], ...] = (plain, joined, pyramid, classifier)


# --- changes ------------------------------------------------------------------------------------
def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    """One attribute of a node: another number, list, text, type, name, or none."""
    node = rng.choice(model.graph.node)
    if not node.attribute:
        return
    attribute = rng.choice(node.attribute)
    if attribute.ints and rng.random() < 0.8:
        at = rng.randrange(len(attribute.ints))
        attribute.ints[at] = rng.choice(NUMBERS)
        if rng.random() < 0.2:
            attribute.ints.append(rng.choice(NUMBERS))
    elif attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = rng.choice((b"", b"linear", b"VALID", b"half_pixel", b"\xff\0", b"x" * 999))
    elif rng.random() < 0.3:
        node.attribute.remove(attribute)
    else:
        attribute.type = rng.randrange(15)  # type: ignore[assignment]


def _initializer(model: onnx.ModelProto, rng: random.Random) -> None:
    """A constant: other values, another shape or type."""
    tensor = rng.choice(model.graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    kind = rng.randrange(5)
    if kind == 0 and array.size:
        array.reshape(-1)[rng.randrange(array.size)] = (
            rng.choice(FLOATS) if array.dtype.kind == "f" else rng.choice(NUMBERS[1:-1])
        )
    elif kind == 1:
        array = array.reshape(-1)
    elif kind == 2:
        array = array.astype(rng.choice((np.float64, np.float16, np.int32, np.int8, np.bool_)))
    elif kind == 3 and array.ndim:
        array = array[:-1]
    else:
        tensor.dims[:] = [rng.choice(NUMBERS) for _ in range(rng.randrange(5))]
        return
    with np.errstate(all="ignore"):
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _wiring(model: onnx.ModelProto, rng: random.Random) -> None:
    """An input or output of a node: another value of the graph, none, or one more."""
    values = [*(o for n in model.graph.node for o in n.output), "x", "",
              *(t.name for t in model.graph.initializer), "nothing"]  # fmt: skip
    node = rng.choice(model.graph.node)
    ends = node.input if rng.random() < 0.8 else node.output
    if ends and rng.random() < 0.8:
        ends[rng.randrange(len(ends))] = rng.choice(values)
    else:
        ends.append(rng.choice(values))


def _node(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node of another kind, twice, gone, or elsewhere in the list."""
    nodes = model.graph.node
    node = rng.choice(nodes)
    kind = rng.randrange(4)
    if kind == 0:
        node.op_type = rng.choice(OPS)
    elif kind == 1:
        nodes.append(node)
    elif kind == 2:
        nodes.remove(node)
    else:
        text = node.SerializeToString()
        nodes.remove(node)
        nodes.insert(rng.randrange(len(nodes) + 1), onnx.NodeProto.FromString(text))


def _unary(model: onnx.ModelProto, rng: random.Random) -> None:
    """An operator put into an edge."""
    node = rng.choice([n for n in model.graph.node if n.input] or [None])
    if node is None:
        return
    name = f"m{rng.randrange(1 << 30)}"
    kind = rng.choice(("Relu", "Neg", "Identity", "Sigmoid", "Dropout", "Abs", "LeakyRelu", "Cast"))
    attributes = {"to": rng.choice((1, 7, 11))} if kind == "Cast" else {}
    at = list(model.graph.node).index(node)
    model.graph.node.insert(at, helper.make_node(kind, [node.input[0]], [name], **attributes))
    model.graph.node[at + 1].input[0] = name


def _header(model: onnx.ModelProto, rng: random.Random) -> None:
    """The model's input, outputs, versions."""
    kind = rng.randrange(5)
    graph = model.graph
    if kind == 0:
        shape = graph.input[0].type.tensor_type.shape
        if shape.dim:
            rng.choice(shape.dim).dim_value = rng.choice(NUMBERS)
    elif kind == 1:
        graph.input[0].type.tensor_type.elem_type = rng.randrange(20)
    elif kind == 2:
        graph.output.append(rng.choice((*graph.output, *graph.input)))
    elif kind == 3:
        model.opset_import[0].version = rng.choice((1, 7, 11, 13, 17, 18, 21, 22, 1000, -1))
    else:
        names = [o for n in graph.node for o in n.output]
        graph.output[0].name = rng.choice(names)


CHANGES = (_attribute, _attribute, _initializer, _wiring, _node, _unary, _header)


def mutated(rng: random.Random) -> bytes:
    """A file: one of the seeds with one to three changes, sometimes of its bytes."""
    net = Net(seed=rng.randrange(4))
    rng.choice(SEEDS)(net)
    model = net.model(net.nodes[-1].output[0])
    if rng.random() < 0.85:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            if model.graph.node and model.graph.initializer:
                try:
                    rng.choice(CHANGES)(model, rng)
                except (ValueError, OverflowError, TypeError, IndexError):
                    pass  # this change does not go with the one before
        return model.SerializeToString()
    data = bytearray(model.SerializeToString())
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.2 else data)


# --- the judge ----------------------------------------------------------------------------------
def attempt(rng: random.Random, folder: Path) -> str:
    """Import a mutated file and compare it with onnxruntime."""
    path = folder / "net.onnx"
    path.write_bytes(mutated(rng))
    try:
        graph, problems = run_limited(str(path), LIMITS, examine_onnx, path, None)
    except UnsupportedModel:
        return "refused"
    if graph is None:
        str(problems_error(path, problems))
        return "refused"
    if max(np.prod(graph.host_input.model_shape), 1) > 1 << 20:
        return "accepted, too large to judge"
    try:
        how = run_limited("the judge", LIMITS, _judge, path, graph)
    except UnsupportedModel:  # onnxruntime needs too much, or ended the process
        return "accepted, not judged"
    if how.startswith("different"):
        raise Different(how)
    return how


def _judge(path: Path, imported) -> str:
    shape = imported.host_input.model_shape
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    try:
        expected = run_reference(path, image)
    except Exception:  # onnxruntime refuses what is accepted here: nothing to compare with
        return "accepted, not judged"
    if not all(np.isfinite(want).all() for want in expected if want.dtype.kind == "f"):
        return "accepted, not finite"
    graph = optimise(imported)
    verify(graph, lowered=True)
    for stage in (imported, graph):
        with np.errstate(all="ignore"):
            got = run_host_ops(stage, run_float(stage, image))
        if len(got) != len(expected):
            return f"different: {len(got)} outputs, onnxruntime has {len(expected)}"
        for want, (name, have) in zip(expected, got.items(), strict=True):
            if (have.shape, have.dtype) != (want.shape, want.dtype):
                return f"different: {name} is {have.dtype}{have.shape}, {want.dtype}{want.shape}"
            if want.dtype.kind != "f":
                wrong = float(np.mean(have != want))  # a tie may be decided either way
                if wrong > 0.02:
                    return f"different: {wrong:.0%} of {name}"
                continue
            room = TOLERANCE * max(1.0, float(np.abs(want).max(initial=0)))
            if not np.allclose(have, want, atol=room, rtol=1e-3):
                return f"different: {name} by {np.abs(have - want).max():.3g}"
    return "equal"
