"""Order of the layers: what leads to one result of the network alone, as early as it can.

The results of all layers leave while later layers run, so one that is large should not come last.
"""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.quant.ir import QNode, QuantGraph


def early_results(qgraph: QuantGraph) -> QuantGraph:
    """The network with the nodes that lead to one result alone behind the last of the others that
    they read, the shorter of such branches first."""
    results = {t: {t} for t in qgraph.outputs}
    leads: dict[str, set[str]] = {}  # by tensor
    for node in reversed(qgraph.nodes):
        own = leads.setdefault(node.output, set()) | results.get(node.output, set())
        leads[node.output] = own
        for name in node.inputs:
            leads.setdefault(name, set()).update(own)
    branches: dict[str, list[QNode]] = {}
    trunk: list[QNode] = []
    for node in qgraph.nodes:
        ends = leads[node.output]
        if len(ends) == 1:
            branches.setdefault(next(iter(ends)), []).append(node)
        else:
            trunk.append(node)
    waiting = sorted(branches.values(), key=len)
    order: list[QNode] = []
    known = {qgraph.input}
    for node in [None, *trunk]:
        if node is not None:
            order.append(node)
            known.add(node.output)
        for branch in list(waiting):
            own = {n.output for n in branch}
            if all(i in known or i in own for n in branch for i in n.inputs):
                waiting.remove(branch)
                order += branch
                known |= own
    assert not waiting
    return replace(qgraph, nodes=tuple(order))
