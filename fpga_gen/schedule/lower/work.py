"""Work of a layer: multiply-accumulates that the float network asks for."""

from __future__ import annotations

from fpga_gen.quant.ir import QConv, QNode, QuantGraph


def conv_macs(node: QConv, pixels: int) -> int:
    """Unpadded multiply-accumulates of a convolution with `pixels` output pixels."""
    return sum(t.used_weights for t in node.terms) * pixels


def node_macs(node: QNode, qgraph: QuantGraph) -> int:
    if not isinstance(node, QConv) or node.is_sum:
        return 0
    out = qgraph.tensors[node.output]
    return conv_macs(node, out.height * out.width)
