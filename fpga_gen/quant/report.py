"""Where the work of a quantised network is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fpga_gen.contract.column_kinds import KINDS, ColumnKind
from fpga_gen.quant.ir import QConv, QuantGraph


@dataclass(frozen=True)
class LayerFact:
    """One convolution: multiply-accumulates per frame, share of them on each kind of column, by its
    number, 16-bit operands."""

    name: str
    macs: int
    shares: dict[int, float]
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
        shares = {k.number: out.kinds.count(k.number) / out.channels for k in KINDS}
        facts.append(LayerFact(node.name, macs, shares, node.wide))
    return tuple(facts)


def mac_share(kind: ColumnKind, facts: Sequence[LayerFact]) -> float:
    """Share of all multiply-accumulates that the columns of a kind compute."""
    own = sum(f.macs * f.shares[kind.number] for f in facts)
    return own / max(1, sum(f.macs for f in facts))
