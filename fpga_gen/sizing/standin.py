"""A stand-in for the quantised network: what a schedule needs to know of it, before quantisation.

Cycles follow from shapes, formats, column kinds and which weights are zero, not from the values of
the others. Those are one, filters go to the kinds of column in the engine's ratio, and every map
has eight bits if the model did not come with sixteen: which others need them only calibration
tells.
"""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Add, Concat, Conv, Graph, MaxPool, Mul, Resample
from fpga_gen.quant.calibrate import dense_weight
from fpga_gen.quant.imported import import_scales
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QConvTerm,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QTensor,
    QuantGraph,
)
from fpga_gen.quant.kinds import assign_kinds, column_periods
from fpga_gen.quant.ranges import segments_of, tensor_formats
from fpga_gen.quant.zero_order import zero_orders


def standin(graph: Graph, params: EngineParams, *, zero_order: bool = True) -> QuantGraph:
    """The graph as the quantiser would divide it for an engine, with weights of one or zero and
    unit scales."""
    equal = {
        node.output: np.zeros(graph.tensors[node.output].channels)
        for node in graph.nodes
        if isinstance(node, Conv)
    }
    kinds, periods = assign_kinds(graph, params, equal), column_periods(graph, params)
    orders = zero_orders(graph, params, equal) if zero_order else {}
    kinds |= {name: order.kinds for name, order in orders.items()}
    shapes, formats = graph.tensors, tensor_formats(graph, set())
    if graph.hints is not None:
        formats |= {name: fmt for name, (_, fmt) in import_scales(graph, ()).kept.items()}
    tensors = {
        n: QTensor(n, shapes[n].channels, shapes[n].height, shapes[n].width, 1.0, fmt, kinds[n],
                   periods[n], orders[n].positions if n in orders else ())
        for n, fmt in formats.items()
    }  # fmt: skip
    segments = segments_of(graph)
    nodes: list[QNode] = []
    for node in graph.nodes:
        if isinstance(node, Concat):
            continue
        out = tensors[node.output]
        whole = Epilogue.whole(out.format)
        match node:
            case Conv():
                wide = any(formats[s].bits == 16 for t in node.terms for s in segments[t.input])
                nodes.append(_conv(node, segments, out, wide))
            case MaxPool():
                nodes.append(
                    QMaxPool(
                        node.name, node.input, node.output, node.kernel, node.stride, node.pads,
                        node.dilation,
                    )
                )  # fmt: skip
            case Resample():
                nodes.append(
                    QResample(node.name, node.input, node.output, node.y, node.x, 1, 1, whole)
                )
            case Add():
                ones = (1,) * len(node.inputs)
                nodes.append(QAdd(node.name, node.inputs, ones, node.output, 1, 1, whole))
            case Mul():
                nodes.append(QMul(node.name, node.inputs, node.output, 1, 1, whole))
    return QuantGraph(
        graph.name, graph.input, graph.outputs, tensors, tuple(nodes), params.sp2, graph.host_input
    )


def _conv(node: Conv, segments: dict[str, tuple[str, ...]], out: QTensor, wide: bool) -> QConv:
    terms = tuple(
        QConvTerm(
            segments[t.input],
            dense_weight((t.weight != 0).astype(np.int8), t.groups),
            t.stride,
            t.pads,
            t.dilation,
        )
        for t in node.terms
    )
    none, whole = np.zeros(out.channels, np.int32), Epilogue.whole(out.format)
    return QConv(node.name, terms, node.output, wide, none, none, none, whole)
