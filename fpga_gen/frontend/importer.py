"""ONNX file -> Graph. Everything that is not supported is refused, all nodes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from fpga_gen.frontend import (
    ops_activation,
    ops_conv,
    ops_elementwise,
    ops_host,
    ops_norm,
    ops_parts,
    ops_pool,
    ops_reduce,
    ops_resize,
    ops_shape,
    ops_transpose,
    qdq,
    qonnx,
)
from fpga_gen.frontend.adapt import adapted
from fpga_gen.frontend.call import Call
from fpga_gen.frontend.constants import fold
from fpga_gen.frontend.host_tail import TailBuilder
from fpga_gen.frontend.load import LoadedModel, initializer_arrays, load_model
from fpga_gen.frontend.problems import Problem, Refused, problems_error
from fpga_gen.frontend.refusals import misplaced, unsupported
from fpga_gen.frontend.values import (
    Builder,
    Feature,
    HostValue,
    Quantised,
    Unknown,
    Value,
    phantom,
)
from fpga_gen.frontend.view import View
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.rewrite import pruned
from fpga_gen.graph.verify import verify
from fpga_gen.worker import Limits, run_limited

OPERATORS: dict[str, Callable[[Call], list[Value]]] = {
    "Abs": ops_activation.absolute,
    "Add": ops_elementwise.add,
    "AveragePool": ops_pool.average_pool,
    "BatchNormalization": ops_conv.batch_normalization,
    "Cast": ops_shape.cast,
    "Celu": ops_activation.celu,
    "Clip": ops_elementwise.clip,
    "Concat": ops_parts.concat,
    "Conv": ops_conv.conv,
    "ConvTranspose": ops_transpose.conv_transpose,
    "DepthToSpace": ops_shape.depth_to_space,
    "Div": ops_elementwise.div,
    "Dropout": ops_shape.dropout,
    "Elu": ops_activation.elu,
    "Erf": ops_activation.erf,
    "Exp": ops_activation.exp,
    "Expand": ops_shape.expand,
    "Flatten": ops_shape.flatten,
    "Gather": ops_parts.gather,
    "Gelu": ops_activation.gelu,
    "Gemm": ops_conv.gemm,
    "GlobalAveragePool": ops_pool.global_average_pool,
    "GlobalMaxPool": ops_pool.global_max_pool,
    "HardSigmoid": ops_activation.hard_sigmoid,
    "HardSwish": ops_activation.hard_swish,
    "Identity": ops_shape.identity,
    "LRN": ops_norm.lrn,
    "LeakyRelu": ops_activation.leaky_relu,
    "MatMul": ops_conv.matmul,
    "Max": ops_elementwise.maximum,
    "MaxPool": ops_pool.max_pool,
    "Min": ops_elementwise.minimum,
    "Mish": ops_activation.mish,
    "Mul": ops_elementwise.mul,
    "Neg": ops_elementwise.neg,
    "PRelu": ops_activation.p_relu,
    "Pad": ops_shape.pad,
    "Pow": ops_activation.power,
    "Reciprocal": ops_activation.reciprocal,
    "ReduceMax": ops_reduce.reduction,
    "ReduceMean": ops_reduce.reduction,
    "ReduceMin": ops_reduce.reduction,
    "ReduceSum": ops_reduce.reduction,
    "Relu": ops_elementwise.relu,
    "Reshape": ops_shape.reshape,
    "Resize": ops_resize.resize,
    "Selu": ops_activation.selu,
    "Shape": ops_shape.shape_of,
    "Sigmoid": ops_activation.sigmoid,
    "Size": ops_shape.size_of,
    "Slice": ops_parts.slice_,
    "Softplus": ops_activation.softplus,
    "Softsign": ops_activation.softsign,
    "SpaceToDepth": ops_shape.space_to_depth,
    "Split": ops_parts.split,
    "Sqrt": ops_activation.root,
    "Squeeze": ops_shape.squeeze,
    "Sub": ops_elementwise.sub,
    "Sum": ops_elementwise.sum_n,
    "Swish": ops_activation.swish,
    "Tanh": ops_activation.tanh,
    "ThresholdedRelu": ops_activation.thresholded_relu,
    "Tile": ops_shape.tile,
    "Transpose": ops_shape.transpose,
    "Unsqueeze": ops_shape.unsqueeze,
    "Upsample": ops_resize.upsample,
}

# What an engine is there for.
SUMS = frozenset("Conv ConvTranspose Gemm MatMul AveragePool GlobalAveragePool MaxPool".split())


@dataclass
class _Import:
    """State of one import."""

    source: LoadedModel
    builder: Builder = field(default_factory=Builder)
    values: dict[str, Value] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    inferred: dict[str, tuple[int, ...]] | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of the model's constants


def import_onnx(path: Path, *, input_shape: tuple[int, ...] | None = None) -> Graph:
    """Import a model with batch size 1.

    input_shape: (C, H, W) or (1, C, H, W), needed if the model leaves its input size open.
    UnsupportedModel lists every node that cannot be imported, or says what is wrong with the file.
    """
    graph, problems = examine_onnx(Path(path), input_shape)
    if graph is None:
        raise problems_error(Path(path), problems)
    return graph


def import_untrusted(path: Path, *, input_shape: tuple[int, ...] | None = None) -> Graph:
    """Like `import_onnx`, but in a process of its own with limits on time and memory."""
    graph, problems = run_limited(str(path), Limits(), examine_onnx, Path(path), input_shape)
    if graph is None:
        raise problems_error(Path(path), problems)
    return graph


def check_onnx(path: Path, input_shape: tuple[int, ...] | None = None) -> list[Problem]:
    """Every node that keeps the model from being imported (UnsupportedModel if unreadable)."""
    return examine_onnx(Path(path), input_shape)[1]


def examine_onnx(
    path: Path, input_shape: tuple[int, ...] | None
) -> tuple[Graph | None, list[Problem]]:
    """The graph, or every node that keeps it from being imported; see `import_onnx`."""
    state = _Import(load_model(path, input_shape))
    model, source = state.source.model, state.source
    constants, state.builder.budget = initializer_arrays(state.source)
    state.values.update(constants)
    state.builder.tensor(source.input, source.host_input.model_shape)
    for name, view in source.views():
        state.values[name] = state.builder.settled(view)
    state.builder.integer_input = source.integers
    state.shapes = _constant_shapes(model, constants)
    nodes = _live_nodes(model)
    tails = _tails(model, nodes, state.shapes)
    endings = _endings(nodes, state.shapes)
    last = _last_readers(model, nodes)
    for index, node in enumerate(nodes):
        read = tuple(name for name in node.output if name in last)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # told where weights are stored
                results = _convert(state, node, tails[index], read, final=endings[index])
        except Refused as refused:
            label = node.name or next(o for o in node.output if o)
            state.problems.append(Problem(label, node.op_type, refused.reason, refused.remedy))
            results = _phantoms(state, node)
        # A node may leave optional outputs without a value.
        state.values.update({n: v for n, v in zip(node.output, results, strict=False) if n})
        for name in (*node.input, *node.output):
            if last.get(name, index) <= index:  # free the memory of large constants
                state.values.pop(name, None)
    graph = None if state.problems else _finish(state)
    return graph, state.problems


def _live_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes that an output depends on, in order."""
    needed = {o.name for o in model.graph.output}
    live = []
    for node in reversed(model.graph.node):
        if any(o in needed for o in node.output if o):
            live.append(node)
            needed.update(node.input)
            for attribute in node.attribute:  # a subgraph may read outer values
                for inner in (attribute.g, *attribute.graphs):
                    needed.update(name for n in inner.node for name in n.input)
    return live[::-1]


def _constant_shapes(
    model: onnx.ModelProto, constants: dict[str, np.ndarray]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the constants that are there before anything is computed."""
    shapes = {name: array.shape for name, array in constants.items()}
    for node in model.graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1:
            shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
    return shapes


def _last_readers(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> dict[str, int]:
    """Index of the last node that reads a value; beyond all nodes for the model's outputs."""
    last: dict[str, int] = {}
    for index, node in enumerate(nodes):
        last.update(dict.fromkeys(node.input, index))
    last.update({o.name: len(nodes) for o in model.graph.output})
    return last


def _tails(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    weights: dict[str, tuple[int, ...]],
) -> list[str]:
    """Per node: '' if only operators of the host depend on it, else the name of one that is none.

    weights: shapes of the model's constants.
    """
    blockers: dict[str, str] = {}  # value -> a consumer that cannot run on the host
    result = []
    for node in reversed(nodes):
        blocker = next((blockers[o] for o in node.output if o in blockers), "")
        result.append(blocker)
        if node.op_type in ("Shape", "Size"):
            continue  # reads no elements
        free = qdq.is_qdq(node) or qonnx.is_qonnx(node) or ops_host.can_run(node, weights)
        if not blocker and not free:
            blocker = node.name or node.output[0]
        if blocker:
            for name in node.input:
                blockers.setdefault(name, blocker)
    return result[::-1]


def _endings(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]]) -> list[bool]:
    """Per node: whether what follows is no work for an engine, neither a sum of products nor a
    product of two maps (x * sigmoid(x) for one); weights: shapes of the model's constants."""
    work: set[str] = set()  # values that it depends on
    result = []
    for node in reversed(nodes):
        result.append(not any(o in work for o in node.output))
        maps = sum(name != "" and name not in weights for name in node.input)
        if not result[-1] or node.op_type in SUMS or (node.op_type == "Mul" and maps > 1):
            work.update(node.input)
    return result[::-1]


def _convert(
    state: _Import, node: onnx.NodeProto, blocker: str, read: tuple[str, ...], *, final: bool
) -> list[Value]:
    """Values of a node's outputs. blocker, read, final: `Call.reaches`, `read` and `final`."""
    inputs = tuple(state.values.get(n, Unknown()) if n else None for n in node.input)
    known = node.domain == ""
    call = Call(state.builder, node, state.source.opset, inputs, not blocker, blocker, read, final)
    if qdq.is_qdq(node):
        if any(isinstance(v, Unknown) for v in inputs):
            return [Unknown()]
        return adapted(call, qdq.convert)
    if qonnx.is_qonnx(node) and not any(isinstance(v, Unknown) for v in inputs):
        return adapted(call, qonnx.convert)
    subgraphs = any(a.g.node or a.graphs for a in node.attribute)
    constants = [v for v in inputs if v is None or isinstance(v, np.ndarray)]
    if known and len(constants) == len(inputs) and not subgraphs:
        return [*fold(node, constants, state.source.opset, state.builder.budget)]
    on_host = known and not blocker and ops_host.can_run(node, state.shapes)
    if not known or not (node.op_type in OPERATORS or node.op_type in ops_host.HOST):
        raise unsupported(node)
    if node.op_type not in OPERATORS and not on_host:
        raise misplaced(node, blocker)
    if any(isinstance(v, Unknown) for v in inputs):
        return [Unknown() for _ in node.output]
    if any(isinstance(v, Quantised) for v in inputs):
        if node.op_type not in qdq.LEVELS:
            raise Refused("reads a quantised map", "put DequantizeLinear before it (QDQ format)")
        return qdq.on_levels(call, lambda inner: _placed(inner, on_host=on_host))
    return _placed(call, on_host=on_host)


def _placed(call: Call, *, on_host: bool) -> list[Value]:
    """On the engine or, where only the host can or must, there."""
    there = call.final and (call.op in ops_host.PREFERRED or _divides(call))
    there |= any(isinstance(v, HostValue) for v in call.values)
    if (on_host and there) or call.op not in OPERATORS:
        return ops_host.HOST[call.op](call)
    try:
        return adapted(call, OPERATORS[call.op])
    except Refused as refused:
        if not on_host or refused.model_at_fault or call.op in ("Conv", "Gemm"):
            raise
        try:
            return ops_host.HOST[call.op](call)
        except Refused:
            raise refused from None


def _divides(call: Call) -> bool:
    """By a map, which the host does exactly and a table of 8-bit values does not."""
    return call.op == "Div" and not isinstance(call.values[1], np.ndarray)


def _phantoms(state: _Import, node: onnx.NodeProto) -> list[Value]:
    """Stand-ins for the results of a refused node, shaped by ONNX's own inference."""
    if state.inferred is None:
        state.inferred = _infer_shapes(state.source)
    results = [phantom(state.builder, o, state.inferred.get(o)) for o in node.output]
    if node.op_type == "QuantizeLinear":
        return [Quantised(r, None) if isinstance(r, Feature) else r for r in results]
    return results


def _infer_shapes(source: LoadedModel) -> dict[str, tuple[int, ...]]:
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    sizes = {part.name: part.array_shape for part in source.inputs}
    for value in model.graph.input:
        if value.name in sizes:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in sizes[value.name]:
                shape.dim.add().dim_value = size
    try:
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError):
        return {}  # only costs the problems that would have been found after this node
    return {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*model.graph.value_info, *model.graph.output)
    }


def _finish(state: _Import) -> Graph | None:
    """The graph of the collected nodes; None after adding the problems of its outputs."""
    builder = state.builder
    results = [_result(state, info.name) for info in state.source.model.graph.output]
    if state.problems:
        return None
    source, names = state.source, [r.name for r in results if r is not None]
    tail, needed = [], set(names)
    for op in reversed(builder.host_ops):
        if op.target in needed:
            tail.append(op)
            needed.update(op.reads)
    outputs = [name for name in builder.order if name in needed]
    if not outputs:
        state.problems += [_constant(o.name) for o in source.model.graph.output]
        return None
    copies: dict[str, str] = {}
    if source.input in outputs:  # which the engine does not write
        copies[source.input] = builder.copy(source.input, f"{source.input}.copy", "")
    swap = {name: copies.get(name, name) for name in outputs}
    ops = [replace(op, inputs=tuple(swap.get(n, n) for n in op.inputs)) for op in reversed(tail)]
    graph = Graph(
        name=source.path.stem,
        input=source.input,
        outputs=tuple(swap[name] for name in outputs),
        tensors=dict(builder.tensors),
        nodes=tuple(builder.nodes),
        host_input=source.host_input,
        host_ops=tuple(ops),
        output_names=tuple(o.name for o in source.model.graph.output),
        hints=builder.imported.result(),
        results=tuple(swap.get(name, name) for name in names),
    )
    graph = pruned(graph)
    verify(graph)
    return graph


def _result(state: _Import, name: str) -> HostValue | None:
    """An output of the model as a value of the host; None after adding a problem."""
    value = state.values.get(name)
    hint = value.hint if isinstance(value, Quantised) else None
    value = value.value if isinstance(value, Quantised) else value
    if isinstance(value, Feature | View | HostValue):
        tail = TailBuilder(state.builder, "Output", "", name)
        try:
            real = tail.of(value)
            return real if hint is None else tail.levels(real, hint)
        except Refused as refused:
            state.problems.append(Problem(name, "Output", refused.reason, refused.remedy))
    else:
        state.problems.append(_constant(name))
    return None


def _constant(output: str) -> Problem:
    return Problem(output, "Output", "does not depend on the input", "remove this output")
