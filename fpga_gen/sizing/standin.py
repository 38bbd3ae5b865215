"""A stand-in for the quantised network: what a schedule needs to know of it, before quantisation.

Cycles follow from shapes, formats, column kinds and zeros, not from other values of the weights.
All that are not zero are one, filters go to the kinds of column in the engine's ratio, and every
map has eight bits unless the model came with sixteen or the caller knows better: which others need
them only calibration tells.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.isa import TABLE_ENTRIES
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import (
    ACTIVATED,
    Add,
    Concat,
    Conv,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Node,
    Resample,
    Select,
    term_weights,
)
from fpga_gen.quant.calibrate import dense_weight
from fpga_gen.quant.imported import import_scales
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QConvTerm,
    QInterleave,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QTensor,
    QuantGraph,
)
from fpga_gen.quant.kinds import assign_kinds, column_periods
from fpga_gen.quant.ranges import tensor_formats
from fpga_gen.quant.segments import Segment, on_whole_maps, sources_of
from fpga_gen.quant.zero_order import zero_orders


def standin(
    graph: Graph,
    params: EngineParams,
    wide_maps: Collection[str] = (),
    *,
    zero_order: bool = True,
) -> QuantGraph:
    """The graph as the quantiser would divide it for an engine, with unit weights and scales.

    wide_maps: tensors of 16 bits, where that is known; zero_order: as in `QuantOptions`.
    """
    equal = {node.output: {} for node in graph.nodes if isinstance(node, Conv)}
    kinds, periods = assign_kinds(graph, params, equal), column_periods(graph, params)
    orders = zero_orders(graph, params, equal) if zero_order else {}
    kinds |= {name: order.kinds for name, order in orders.items()}
    shapes, formats = graph.tensors, tensor_formats(graph, set(wide_maps))
    if graph.hints is not None:
        formats |= {name: fmt for name, (_, fmt) in import_scales(graph, ()).kept.items()}
    tensors = {
        n: QTensor(n, shapes[n].channels, shapes[n].height, shapes[n].width, 1.0, fmt, kinds[n],
                   periods[n], orders[n].positions if n in orders else ())
        for n, fmt in formats.items()
    }  # fmt: skip
    segments = sources_of(graph)
    depths = {name: t.channels for name, t in tensors.items()}
    nodes: list[QNode] = []
    for node in graph.nodes:
        if isinstance(node, Concat | Select):
            continue
        out = tensors[node.output]
        whole = _epilogue(node, out, len(nodes))
        match node:
            case Conv():
                wide = any(
                    formats[s.tensor].bits == 16 for t in node.terms for s in segments[t.input]
                )
                nodes.append(_conv(node, segments, out, wide, depths, whole))
            case MaxPool():
                nodes.append(
                    QMaxPool(
                        node.name, node.input, node.output, node.kernel, node.stride, node.pads,
                        node.dilation, node.onnx_name,
                    )
                )  # fmt: skip
            case Resample():
                nodes.append(
                    QResample(
                        node.name, node.input, node.output, node.y, node.x, 1, 1, whole,
                        node.onnx_name,
                    )
                )  # fmt: skip
            case Interleave():
                nodes.append(
                    QInterleave(
                        node.name, node.input, node.output, node.block, 1, 1, whole, node.onnx_name
                    )
                )
            case Add():
                ones = (1,) * len(node.inputs)
                nodes.append(
                    QAdd(node.name, node.inputs, ones, node.output, 1, 1, whole, node.onnx_name)
                )
            case Mul():
                nodes.append(QMul(node.name, node.inputs, node.output, 1, 1, whole, node.onnx_name))
    return QuantGraph(
        graph.name, graph.input, graph.outputs, tensors, tuple(nodes), params.sp2, graph.host_input
    )


def _epilogue(node: Node, out: QTensor, number: int) -> Epilogue:
    """With a table of its own if the node has one."""
    if not isinstance(node, ACTIVATED) or node.activation.is_clip:
        return Epilogue.whole(out.format)
    entries = (number % TABLE_ENTRIES, number // TABLE_ENTRIES, *range(TABLE_ENTRIES - 2))
    return Epilogue.through(tuple(entry - TABLE_ENTRIES // 2 for entry in entries), out.format)


def _conv(
    node: Conv,
    segments: dict[str, tuple[Segment, ...]],
    out: QTensor,
    wide: bool,
    depths: dict[str, int],
    epilogue: Epilogue,
) -> QConv:
    terms = []
    for t in node.terms:
        ones = dense_weight((t.weight != 0).astype(np.int8), t.groups)
        names, weight = on_whole_maps(ones, segments[t.input], depths)
        geometry = (t.stride, t.pads, t.dilation)
        terms.append(QConvTerm(names, weight, *geometry, asked=term_weights(t)))
    none = np.zeros(out.channels, np.int32)
    return QConv(
        node.name, tuple(terms), node.output, wide, none, none, none, epilogue, node.onnx_name
    )
