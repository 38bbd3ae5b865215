"""Order of the nodes of a network that spills: those that read the same large map together."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.quant.ir import QuantGraph


def beside_siblings(qgraph: QuantGraph) -> QuantGraph:
    """The network with every node of one input moved up behind the first other node that reads that
    input alone and has a result of the same height: one segment can hold both, and loads the map
    once."""
    left = list(qgraph.nodes)
    nodes = []
    while left:
        node = left.pop(0)
        group = [node]
        if len(node.inputs) == 1:
            height = qgraph.tensors[node.output].height
            group += [
                other
                for other in left
                if other.inputs == node.inputs and qgraph.tensors[other.output].height == height
            ]
        nodes += group
        left = [other for other in left if other not in group]
    return replace(qgraph, nodes=tuple(nodes))
