"""ONNX file -> Graph. Everything that is not supported is refused, all nodes at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from fpga_gen.frontend import (
    ops_activation,
    ops_conv,
    ops_elementwise,
    ops_host,
    ops_pool,
    ops_resize,
    ops_shape,
    qdq,
)
from fpga_gen.frontend.call import PADDED, Call, on_host
from fpga_gen.frontend.constants import fold
from fpga_gen.frontend.load import LoadedModel, initializer_arrays, load_model
from fpga_gen.frontend.problems import Problem, Refused, problems_error
from fpga_gen.frontend.values import (
    Builder,
    Feature,
    HostValue,
    Quantised,
    Unknown,
    Value,
    phantom,
)
from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.rewrite import pruned
from fpga_gen.graph.verify import verify
from fpga_gen.worker import Limits, run_limited
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput

OPERATORS: dict[str, Callable[[Call], list[Value]]] = {
    "Abs": ops_activation.absolute,
    "Add": ops_elementwise.add,
    "ArgMax": ops_host.argmax,
    "AveragePool": ops_pool.average_pool,
    "BatchNormalization": ops_conv.batch_normalization,
    "Cast": ops_shape.cast,
    "Celu": ops_activation.celu,
    "Clip": ops_elementwise.clip,
    "Concat": ops_shape.concat,
    "Conv": ops_conv.conv,
    "Div": ops_elementwise.div,
    "Dropout": ops_shape.dropout,
    "Elu": ops_activation.elu,
    "Erf": ops_activation.erf,
    "Exp": ops_activation.exp,
    "Expand": ops_shape.expand,
    "Flatten": ops_shape.flatten,
    "Gelu": ops_activation.gelu,
    "Gemm": ops_conv.gemm,
    "GlobalAveragePool": ops_pool.global_average_pool,
    "GlobalMaxPool": ops_pool.global_max_pool,
    "HardSigmoid": ops_activation.hard_sigmoid,
    "HardSwish": ops_activation.hard_swish,
    "Identity": ops_shape.identity,
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
    "ReduceMean": ops_pool.reduce_mean,
    "Relu": ops_elementwise.relu,
    "Reshape": ops_shape.reshape,
    "Resize": ops_resize.resize,
    "Selu": ops_activation.selu,
    "Shape": ops_shape.shape_of,
    "Sigmoid": ops_activation.sigmoid,
    "Size": ops_shape.size_of,
    "Softmax": ops_host.softmax,
    "Softplus": ops_activation.softplus,
    "Softsign": ops_activation.softsign,
    "Squeeze": ops_shape.squeeze,
    "Sub": ops_elementwise.sub,
    "Sum": ops_elementwise.sum_n,
    "Swish": ops_activation.swish,
    "Tanh": ops_activation.tanh,
    "ThresholdedRelu": ops_activation.thresholded_relu,
    "Transpose": ops_shape.transpose,
    "Unsqueeze": ops_shape.unsqueeze,
    "Upsample": ops_resize.upsample,
}

# Operators that the host can run on what the engine returns.
HOST_OPERATORS = frozenset(
    "ArgMax Cast Clip DequantizeLinear Dropout Flatten Identity QuantizeLinear Relu Reshape Resize "
    "Sigmoid Softmax Squeeze Transpose Unsqueeze Upsample".split()
)

REMEDIES = {
    "ConvTranspose": "replace it by Resize followed by Conv",
    "ConvInteger": "export the float model, or quantise it in QDQ format",
    "DynamicQuantizeLinear": "export the float model, or quantise it statically in QDQ format",
    "QLinearConv": "export the float model, or quantise it in QDQ format",
    "If": "simplify the model first (onnxsim)",
    "Loop": "export without control flow",
    "Scan": "export without control flow",
    "DepthToSpace": "replace it by Resize followed by Conv",
    "SpaceToDepth": "replace it by a strided Conv",
    "InstanceNormalization": "train with BatchNormalization instead",
    "LayerNormalization": "train with BatchNormalization instead",
    "GroupNormalization": "train with BatchNormalization instead",
    "Split": "compute the parts with separate Conv nodes",
    "Slice": "compute the part with its own Conv node",
    "ReduceMax": "use GlobalMaxPool",
}
REMEDY = "replace it by supported operators, or cut the model before it"


@dataclass
class _Import:
    """State of one import."""

    source: LoadedModel
    builder: Builder = field(default_factory=Builder)
    values: dict[str, Value] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    inferred: dict[str, tuple[int, ...]] | None = None


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
    _, c, h, w = source.shape
    state.builder.tensor(source.input, (c, h, w))
    state.values[source.input] = Feature(source.input, source.shape)
    nodes = _live_nodes(model)
    tails = _tails(model, nodes)
    last = _last_readers(model, nodes)
    for index, node in enumerate(nodes):
        read = tuple(name for name in node.output if name in last)
        try:
            results = _convert(state, node, tails[index], read)
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


def _last_readers(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> dict[str, int]:
    """Index of the last node that reads a value; beyond all nodes for the model's outputs."""
    last: dict[str, int] = {}
    for index, node in enumerate(nodes):
        last.update(dict.fromkeys(node.input, index))
    last.update({o.name: len(nodes) for o in model.graph.output})
    return last


def _tails(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> list[str]:
    """Per node: '' if only host operators depend on it, else the name of one that is not."""
    blockers: dict[str, str] = {}  # value -> a consumer that cannot run on the host
    result = []
    for node in reversed(nodes):
        blocker = next((blockers[o] for o in node.output if o in blockers), "")
        result.append(blocker)
        if node.op_type in ("Shape", "Size"):
            continue  # reads no elements
        if not blocker and node.op_type not in HOST_OPERATORS:
            blocker = node.name or node.output[0]
        if blocker:
            for name in node.input:
                blockers.setdefault(name, blocker)
    return result[::-1]


def _convert(
    state: _Import, node: onnx.NodeProto, blocker: str, read: tuple[str, ...]
) -> list[Value]:
    """Values of a node's outputs. blocker, read: `Call.reaches` and `Call.read`."""
    inputs = tuple(state.values.get(n, Unknown()) if n else None for n in node.input)
    known = node.domain == ""
    call = Call(state.builder, node, state.source.opset, inputs, not blocker, blocker, read)
    if qdq.is_qdq(node):
        if any(isinstance(v, Unknown) for v in inputs):
            return [Unknown()]
        return qdq.convert(call)
    subgraphs = any(a.g.node or a.graphs for a in node.attribute)
    constants = [v for v in inputs if v is None or isinstance(v, np.ndarray)]
    if known and len(constants) == len(inputs) and not subgraphs:
        return [*fold(node, constants, state.source.opset, state.builder.budget)]
    if not known or node.op_type not in OPERATORS:
        domain = "" if known else f" of domain '{node.domain}'"
        remedy = REMEDIES.get(node.op_type, REMEDY)
        raise Refused(f"operator {node.op_type}{domain} is not supported", remedy)
    if any(isinstance(v, Unknown) for v in inputs):
        return [Unknown() for _ in node.output]
    if any(isinstance(v, Quantised) for v in inputs):
        raise Refused("reads a quantised map", "put DequantizeLinear before it (QDQ format)")
    return OPERATORS[node.op_type](call)


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
    for value in model.graph.input:
        if value.name == source.input:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in source.shape:
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
    builder, outputs = state.builder, []
    host_ops: list[HostOp] = []
    for info in state.source.model.graph.output:
        value = state.values.get(info.name)
        if isinstance(value, Feature) and any(value.pads):
            state.problems.append(Problem(info.name, "Output", "is a zero-padded map", PADDED))
            continue
        if isinstance(value, Quantised):
            remedy = "end the model with DequantizeLinear"
            state.problems.append(Problem(info.name, "Output", "is quantised", remedy))
            continue
        if not isinstance(value, Feature | HostValue):
            reason = "does not depend on the input"
            state.problems.append(Problem(info.name, "Output", reason, "remove this output"))
            continue
        final = on_host(builder, value, "") if isinstance(value, Feature) else value
        tensor = final.tensor
        if tensor in outputs or tensor == state.source.input:
            tensor = builder.copy(tensor, f"{info.name}.copy", "")  # outputs have own maps
        outputs.append(tensor)
        host_ops += [HostOp(s.kind, tensor, s.attributes, s.onnx_name) for s in final.steps]
    if state.problems:
        return None
    _, c, h, w = state.source.shape
    graph = Graph(
        name=state.source.path.stem,
        input=state.source.input,
        outputs=tuple(outputs),
        tensors=dict(builder.tensors),
        nodes=tuple(builder.nodes),
        host_input=HostInput((c, h, w)),
        host_ops=tuple(host_ops),
        output_names=tuple(o.name for o in state.source.model.graph.output),
        hints=builder.imported.result(),
    )
    graph = pruned(graph)
    verify(graph)
    return graph
