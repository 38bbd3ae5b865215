"""Where the work of a quantised network is done."""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.contract.numerics import SP2
from fpga_gen.quant.ir import QConv, QuantGraph


@dataclass(frozen=True)
class LayerFact:
    """One convolution: multiply-accumulates per frame, share on SP2 columns, 16-bit operands."""

    name: str
    macs: int
    sp2_share: float
    wide: bool


def layer_facts(qgraph: QuantGraph) -> tuple[LayerFact, ...]:
    """MACs and column shares of every convolution."""
    facts = []
    for node in qgraph.nodes:
        if not isinstance(node, QConv):
            continue
        out = qgraph.tensors[node.output]
        assert out.kinds is not None, "a convolution's output has column kinds"
        macs = sum(t.weight.size for t in node.terms) * out.height * out.width
        share = sum(k == SP2 for k in out.kinds) / out.channels
        facts.append(LayerFact(node.name, macs, share, node.wide))
    return tuple(facts)
