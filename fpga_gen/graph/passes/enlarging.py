"""1x1 convolutions in front of enlargements instead of behind them, where fewer channels grow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.graph.ir import (
    PHASE_CHANNELS,
    Activation,
    AxisTable,
    Concat,
    Conv,
    ConvTerm,
    Graph,
    Node,
    Resample,
    Tensor,
)
from fpga_gen.graph.passes.conv_merge import is_pointwise
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt, use_counts


@dataclass(frozen=True)
class _Part:
    """A part of what a 1x1 convolution reads: channels [first, end) of its input."""

    name: str
    first: int
    end: int

    @property
    def columns(self) -> range:
        return range(self.first, self.end)


def shrink_before_enlarging(graph: Graph) -> Graph:
    """conv1x1(concat(enlarge(a), b)) -> conv1x1(enlarge(conv1x1(a)), b), where the result has fewer
    words of channels than what is enlarged.

    Exact: a resampling treats all channels alike. The enlarged sum is read through a diagonal as
    large as the filter's other weights, which share its step when they are rounded. A model that
    came quantised has its weights and is left alone.
    """
    if graph.hints is not None:
        return graph
    uses, fresh, producers = use_counts(graph), Fresh(graph), graph.producers()
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        result: Node = node
        if isinstance(node, Conv):
            for term in filter(is_pointwise, node.terms):
                found = _worth(graph, term, producers, uses)
                if found is not None:
                    result = _moved(graph, node, term, *found, producers, fresh, nodes, tensors)
                    break
        nodes.append(result)
    return rebuilt(graph, nodes, tensors) if tensors else graph


def _parts(graph: Graph, term: ConvTerm, producers: dict[str, Node]) -> list[_Part]:
    source = producers.get(term.input)
    names = source.inputs if isinstance(source, Concat) else (term.input,)
    parts, first = [], 0
    for name in names:
        end = first + graph.tensors[name].channels
        parts.append(_Part(name, first, end))
        first = end
    return parts


def _worth(
    graph: Graph, term: ConvTerm, producers: dict[str, Node], uses: Counter[str]
) -> tuple[list[_Part], list[_Part]] | None:
    """(parts that are enlarged alike, the others) where moving the convolution pays."""
    if uses[term.input] > 1:
        return None
    parts = _parts(graph, term, producers)
    alike: dict[tuple[AxisTable, AxisTable], list[_Part]] = defaultdict(list)
    for part in parts:
        node = producers.get(part.name)
        if (
            isinstance(node, Resample)
            and node.activation.is_identity
            and uses[node.output] == 1
            and node.y.out_size * node.x.out_size > node.y.in_size * node.x.in_size
        ):
            alike[node.y, node.x].append(part)
    best = max(alike.values(), key=_words, default=[])
    if _words(best) <= -(-term.weight.shape[0] // PHASE_CHANNELS):
        return None
    return best, [part for part in parts if part not in best]


def _words(parts: Sequence[_Part]) -> int:
    """Words of channels of maps of their own."""
    return sum(-(-len(part.columns) // PHASE_CHANNELS) for part in parts)


def _moved(
    graph: Graph,
    node: Conv,
    term: ConvTerm,
    grown: list[_Part],
    others: list[_Part],
    producers: dict[str, Node],
    fresh: Fresh,
    nodes: list[Node],
    tensors: list[Tensor],
) -> Conv:
    """The convolution that reads the enlarged sum; appends what computes it."""

    def weights(parts: list[_Part]) -> np.ndarray:
        return term.weight[:, [k for part in parts for k in part.columns]]

    def joined(names: list[str], label: str) -> str:
        """Maps as one."""
        if len(names) == 1:
            return names[0]
        first = graph.tensors[names[0]]
        depth = sum(graph.tensors[name].channels for name in names)
        out = replace(first, name=fresh(f"{node.output}.{label}"), channels=depth)
        tensors.append(out)
        nodes.append(Concat(fresh(f"{node.name}.{label}"), tuple(names), out.name))
        return out.name

    enlarge = producers[grown[0].name]
    assert isinstance(enlarge, Resample)
    sources = [producers[part.name].inputs[0] for part in grown]
    small, large = graph.tensors[sources[0]], graph.tensors[node.output]
    rest = [t for t in node.terms if t is not term]
    kept = weights(others)
    peaks = np.abs(kept).max((1, 2, 3), initial=0.0)
    scale = np.where(peaks > 0, peaks, 1.0).astype(np.float32)
    part = replace(small, name=fresh(f"{node.output}.small"), channels=large.channels)
    whole = replace(large, name=fresh(f"{node.output}.enlarged"))
    tensors += [part, whole]
    source = joined(sources, "before")
    weight = (weights(grown) / scale[:, None, None, None]).astype(np.float32)
    nodes.append(
        Conv(fresh(f"{node.name}.small"), (ConvTerm(source, weight),),
             np.zeros(large.channels, np.float32), part.name, Activation(), node.onnx_name)
    )  # fmt: skip
    nodes.append(
        replace(enlarge, name=fresh(f"{enlarge.name}.sum"), input=part.name, output=whole.name)
    )
    diagonal = np.diag(scale)[:, :, None, None]
    rest.append(ConvTerm(whole.name, diagonal, sparse=True))
    if others:
        rest.append(ConvTerm(joined([p.name for p in others], "beside"), kept))
    return replace(node, terms=tuple(rest))
