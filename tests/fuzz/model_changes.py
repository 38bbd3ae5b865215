"""Changes of ONNX models: what damaged files hold, and what other exporters might write."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

NUMBERS = (-(1 << 63), -(1 << 31), -2, -1, 0, 1, 2, 3, 5, 7, 64, 1000, (1 << 31) - 1, (1 << 63) - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 3e38, float("inf"), float("nan"))
NAMES = (
    "", "x", "\x1b[2J\x1b]0;t\x07", "n" * 70_000, "../../a", "a b", "\u202e", "\x00", "n0",
    "inputs", "x.copy", "n0.1", "%s%n{}", "\ud7ff", "\N{SNOWMAN}", "-h", "None", "a/b\\c",
)  # fmt: skip
TEXTS = (b"", b"linear", b"VALID", b"half_pixel", b"\xff\0", b"x" * 999, b"nearest", b"SAME_LOWER")
ATTRIBUTES = (
    "axis", "axes", "keepdims", "group", "pads", "strides", "dilations", "kernel_shape", "auto_pad",
    "ceil_mode", "mode", "alpha", "beta", "epsilon", "perm", "to", "value", "scales", "sizes",
    "allowzero", "transA", "transB", "broadcast", "spatial", "is_test", "training_mode", "momentum",
    "storage_order", "output_padding", "output_shape", "blocksize", "start", "end", "min", "max",
    "noop_with_empty_axes", "block_size", "output_dtype", "saturate", "exclude_outside", "size",
)  # fmt: skip


def attribute(model: ModelProto, rng: random.Random) -> None:
    """One attribute of a node: another number, list, text, type, name, or none."""
    node = rng.choice(model.graph.node)
    if not node.attribute:
        return
    found = rng.choice(node.attribute)
    if found.ints and rng.random() < 0.8:
        at = rng.randrange(len(found.ints))
        found.ints[at] = rng.choice(NUMBERS)
        if rng.random() < 0.2:
            found.ints.append(rng.choice(NUMBERS))
    elif found.type == AttributeProto.INT:
        found.i = rng.choice(NUMBERS)
    elif found.type == AttributeProto.FLOAT:
        found.f = rng.choice(FLOATS)
    elif found.type == AttributeProto.STRING:
        found.s = rng.choice(TEXTS)
    elif rng.random() < 0.3:
        node.attribute.remove(found)
    else:
        found.type = rng.randrange(15)  # type: ignore[assignment]


def new_attribute(model: ModelProto, rng: random.Random) -> None:
    """An attribute that the node did not have, or has twice."""
    value = rng.choice((
        rng.choice(NUMBERS), rng.choice(FLOATS), rng.choice(TEXTS), [rng.choice(NUMBERS)],
        [rng.randint(-1, 3) for _ in range(rng.randrange(6))] or [1], [rng.choice(FLOATS)],
        numpy_helper.from_array(np.zeros((2, 2), np.float32)), helper.make_graph([], "g", [], []),
        [rng.choice(TEXTS)], [1 << 40] * 4, [1] * 5000,
    ))  # fmt: skip
    node = rng.choice(model.graph.node)
    node.attribute.append(helper.make_attribute(rng.choice(ATTRIBUTES), value))


def constant(model: ModelProto, rng: random.Random) -> None:
    """A constant: other values, another shape or type."""
    tensor = rng.choice(model.graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    kind = rng.randrange(6)
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
    elif kind == 4:
        array = array[None] if rng.random() < 0.5 else array * np.asarray(0, array.dtype)
    else:
        tensor.dims[:] = [rng.choice(NUMBERS) for _ in range(rng.randrange(5))]
        return
    with np.errstate(all="ignore"):
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def constant_form(model: ModelProto, rng: random.Random) -> None:
    """A constant in another form: typed fields, a node, sparse, an odd type, external, an input."""
    tensor = rng.choice(model.graph.initializer)
    array, name = numpy_helper.to_array(tensor), tensor.name
    kind = rng.randrange(7)
    if kind == 0:
        tensor.CopyFrom(helper.make_tensor(name, tensor.data_type, array.shape, array.reshape(-1)))
        if rng.random() < 0.3:
            tensor.raw_data = b"\0" * rng.randrange(9)
    elif kind == 1:
        model.graph.initializer.remove(tensor)
        value: dict[str, Any] = (
            {"value": numpy_helper.from_array(array)} if array.ndim != 1 or rng.random() < 0.5
            else {f"value_{'float' if array.dtype.kind == 'f' else 'int'}s": array.tolist()}
        )  # fmt: skip
        model.graph.node.insert(0, helper.make_node("Constant", [], [name], **value))
    elif kind == 2:
        places = np.flatnonzero(array)[: rng.choice((1, 5, 10**6))]
        made = helper.make_sparse_tensor(
            numpy_helper.from_array(array.reshape(-1)[places], name),
            numpy_helper.from_array(places.astype(np.int64) + rng.choice((0, 0, -1, 1 << 40))),
            [*array.shape] if rng.random() < 0.8 else [1 << 20, 1 << 20],
        )
        if rng.random() < 0.5:
            model.graph.initializer.remove(tensor)
            model.graph.sparse_initializer.append(made)
        else:
            model.graph.initializer.remove(tensor)
            node = helper.make_node("Constant", [], [name], sparse_value=made)
            model.graph.node.insert(0, node)
    elif kind == 3:
        tensor.data_type = rng.randrange(27)
    elif kind == 4:
        tensor.data_location = TensorProto.EXTERNAL
        for key, values in (("location", ("net.onnx", "", "a", "/etc/passwd", ".", "\0")),
                            ("offset", ("0", "8", "-1", "x", str(1 << 70))),
                            ("length", (str(array.nbytes), "1", "-4", str(1 << 62)))):  # fmt: skip
            if rng.random() < 0.8:
                tensor.external_data.add(key=key, value=rng.choice(values))
    elif kind == 5:
        info = helper.make_tensor_value_info(name, tensor.data_type, array.shape)
        model.graph.input.insert(rng.randrange(2), info)
        if rng.random() < 0.5:
            model.graph.initializer.remove(tensor)
    else:
        model.graph.initializer.append(tensor)


def wiring(model: ModelProto, rng: random.Random) -> None:
    """An input or output of a node: another value of the graph, none, or one more."""
    values = [*(o for n in model.graph.node for o in n.output), "x", "",
              *(t.name for t in model.graph.initializer), "nothing"]  # fmt: skip
    node = rng.choice(model.graph.node)
    ends = node.input if rng.random() < 0.8 else node.output
    if ends and rng.random() < 0.8:
        ends[rng.randrange(len(ends))] = rng.choice(values)
    else:
        ends.append(rng.choice(values))


def one_node(model: ModelProto, rng: random.Random) -> None:
    """A node of another kind, of another domain, doubled, removed or at another place."""
    nodes = model.graph.node
    node, kind = rng.choice(nodes), rng.randrange(5)
    text = node.SerializeToString()
    if kind == 0:
        node.op_type = rng.choice(OPS)
    elif kind == 1:
        node.domain = rng.choice(("ai.onnx", "com.microsoft", "ai.onnx.ml", "acme", "\x1b[31m"))
    elif kind == 2:
        nodes.remove(node)
    elif kind == 3:
        nodes.append(NodeProto.FromString(text))
    else:
        nodes.remove(node)
        nodes.insert(rng.randrange(len(nodes) + 1), NodeProto.FromString(text))


def between(model: ModelProto, rng: random.Random) -> None:
    """An operator put into an edge."""
    node = rng.choice([n for n in model.graph.node if n.input] or [None])
    if node is None:
        return
    name = f"m{rng.randrange(1 << 30)}"
    kind = rng.choice(("Relu", "Neg", "Identity", "Sigmoid", "Dropout", "Abs", "LeakyRelu", "Cast"))
    attributes: dict[str, Any] = {"to": rng.choice((1, 7, 10, 11, 16))} if kind == "Cast" else {}
    at, end = list(model.graph.node).index(node), rng.randrange(len(node.input))
    made = helper.make_node(kind, [node.input[end]], [name], **attributes)
    model.graph.node.insert(at, made)
    model.graph.node[at + 1].input[end] = name


def header(model: ModelProto, rng: random.Random) -> None:
    """The model's input, outputs, versions."""
    kind = rng.randrange(9)
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
        model.opset_import[0].version = rng.choice((1, 2, 6, 7, 11, 13, 17, 18, 21, 22, 1000, -1))
    elif kind == 4:
        graph.output[0].name = rng.choice([o for n in graph.node for o in n.output])
    elif kind == 5:  # one more result
        name = rng.choice([o for n in graph.node for o in n.output if o])
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    elif kind == 6:
        entry = model.opset_import.add()
        entry.domain, entry.version = rng.choice(("", "ai.onnx", "acme")), rng.choice((7, 13, 18))
    elif kind == 7:  # an input of its own for some reader
        name = rng.choice(NAMES)
        shape = [1, 3, 9, 11] if rng.random() < 0.5 else [rng.choice(NUMBERS) for _ in range(3)]
        graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        ends = rng.choice(graph.node).input
        if ends:
            ends[0] = name
    else:
        info = graph.input[0].type
        info.Clear()
        rng.choice((info.sequence_type, info.optional_type, info.tensor_type)).SetInParent()


def names(model: ModelProto, rng: random.Random) -> None:
    """A name of a node, a value, the graph or a domain: empty, taken, odd or long."""
    graph, name = model.graph, rng.choice(NAMES)
    old = rng.choice(["x", *(o for n in graph.node for o in n.output),
                      *(t.name for t in graph.initializer)])  # fmt: skip
    kind = rng.randrange(4)
    if kind == 0:
        rng.choice(graph.node).name = name
    elif kind == 1:
        graph.name = name
    elif kind == 2:
        for node in graph.node:
            node.name = ""
    else:
        for item in (*graph.initializer, *graph.input, *graph.output):
            if item.name == old:
                item.name = name
        for node in graph.node:
            for ends in (node.input, node.output):
                ends[:] = [name if e == old else e for e in ends]


def nested(model: ModelProto, rng: random.Random) -> None:
    """A node inside a function, an If or a Loop; the function may call itself."""
    node = rng.choice(model.graph.node)
    at = list(model.graph.node).index(node)
    inner = NodeProto.FromString(node.SerializeToString())
    if rng.random() < 0.5:
        domain, name = rng.choice(("acme", "", "ai.onnx")), rng.choice(("F", "Conv", node.op_type))
        body = [inner]
        if rng.random() < 0.2:
            body.append(helper.make_node(name, node.input, ["z"], domain=domain))
        given = sorted({i for i in node.input if i})
        made = helper.make_function(
            domain, name, given, list(node.output), body, list(model.opset_import), ["axis"]
        )
        if rng.random() < 0.3 and body[0].attribute:
            body[0].attribute[0].ref_attr_name = rng.choice(("axis", "nothing"))
        model.functions.append(made)
        if not any(o.domain == domain for o in model.opset_import):
            model.opset_import.append(helper.make_opsetid(domain, 1))
        call = helper.make_node(name, given, list(node.output), domain=domain)
    else:
        infos = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in node.output]
        graph = helper.make_graph([inner], "body", [], infos)
        condition = numpy_helper.from_array(np.array(rng.random() < 0.5), "condition")
        model.graph.initializer.append(condition)
        kind = rng.choice(("If", "If", "Loop"))
        names_of = ("then_branch", "else_branch") if kind == "If" else ("body",)
        branches: dict[str, Any] = dict.fromkeys(names_of, graph)
        call = helper.make_node(kind, ["condition"], list(node.output), **branches)
    model.graph.node.remove(node)
    model.graph.node.insert(at, call)


def cycle(model: ModelProto, rng: random.Random) -> None:
    """A value that depends on itself, or a chain of ever larger ones."""
    graph = model.graph
    if rng.random() < 0.4:
        rng.choice([n for n in graph.node if n.input]).input[0] = graph.node[-1].output[0]
        return
    name = graph.node[-1].output[0]
    for k in range(rng.choice((3, 8, 40))):
        ends, out = [name, name], f"grown{k}"
        kind = rng.choice(("Concat", "Add", "Mul"))
        attributes: dict[str, Any] = {"axis": 1} if kind == "Concat" else {}
        graph.node.append(helper.make_node(kind, ends, [out], **attributes))
        name = out
    graph.output[0].name = name


OPS = tuple(sorted({s.name for s in onnx.defs.get_all_schemas() if s.domain == ""}))
CHANGES: tuple[Callable[[ModelProto, random.Random], None], ...] = (
    attribute, attribute, attribute, new_attribute, constant, constant, constant_form, wiring,
    wiring, one_node, one_node, between, between, header, names, nested, cycle,
)  # fmt: skip
