"""Work of a layer: multiply-accumulates that the float network asks for."""

from __future__ import annotations

import math

import numpy as np

from fpga_gen.quant.ir import QConv, QNode, QuantGraph


def weight_groups(weight: np.ndarray) -> int:
    """Largest number of convolution groups that a dense weight (F, C, kh, kw) falls into."""
    filters, channels = weight.shape[:2]
    used = weight.reshape(filters, channels, -1).any(2)
    if used.all():
        return 1
    common = math.gcd(filters, channels)
    for groups in (g for g in range(common, 1, -1) if common % g == 0):
        blocks = used.reshape(groups, filters // groups, groups, channels // groups)
        off = blocks.any((1, 3))
        if not (off & ~np.eye(groups, dtype=bool)).any():
            return groups
    return 1


def conv_macs(node: QConv, pixels: int) -> int:
    """Unpadded multiply-accumulates of a convolution with `pixels` output pixels."""
    return sum(_work(t.weight) for t in node.terms) * pixels


def _work(weight: np.ndarray) -> int:
    """Weights of a term without the zeros between groups, for filters that it does not feed, and
    for channels of its maps that it does not read."""
    used = weight.any((2, 3))
    filters, channels = used.any(1), used.any(0)
    if not filters.all() or not channels.all():
        weight = weight[filters][:, channels]
    return weight.size // weight_groups(weight) if weight.size else 0


def node_macs(node: QNode, qgraph: QuantGraph) -> int:
    if not isinstance(node, QConv) or node.is_sum:
        return 0
    out = qgraph.tensors[node.output]
    return conv_macs(node, out.height * out.width)
