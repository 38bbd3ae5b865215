"""Which output channel runs on which kind of column.

Position j of a layer is computed on a column of kind `EngineParams.column_kind(j)`, so a layer
of n channels has exactly as many filters of a kind as there are positions of it below n; which
filters those are is free. Tensors that meet elementwise must agree, so the choice is made once per
class of tied tensors, for all convolutions that write one of them.

Cost of putting a filter on a column that is coarser than the most exact kind: the extra noise power
of its rounding (weight error weighted with the variance of its inputs), times the gain of the
layers that read the channel (sum of their squared weights), relative to the same figure for the
signal of the whole tensor. Costs of tied channels add. The kind that costs most chooses first and
takes its cheapest channels.

A grouped convolution wastes the array unless the channels that belong together lie together: its
filters are computed CI at a time from the CI-channel planes that they read. So its columns begin
anew every CI channels (the period of its output), and the choice is made within each block of CI
channels for its output and its inputs: then every channel stays in the plane of its number.
"""

from __future__ import annotations

import numpy as np

from fpga_gen.contract.column_kinds import COARSE, EXACT
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import QuantError
from fpga_gen.graph.ir import (
    Add,
    Concat,
    Conv,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Resample,
    Select,
)
from fpga_gen.quant.ranges import segments_of
from fpga_gen.quant.segments import sources_of


def tied_classes(graph: Graph) -> dict[str, str]:
    """tensor -> representative of its class (union-find over elementwise nodes)."""
    parent = {t: t for t in graph.tensors}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for node in graph.nodes:
        if isinstance(node, Add | Mul | MaxPool | Resample):
            for name in node.inputs:
                if graph.tensors[name].channels != graph.tensors[node.output].channels:
                    raise QuantError(
                        f"{node.name}: input '{name}' and output '{node.output}' differ in "
                        "channels: elementwise nodes need equal shapes"
                    )
                parent[find(name)] = find(node.output)
    return {t: find(t) for t in graph.tensors}


def channel_gains(graph: Graph) -> dict[str, np.ndarray]:
    """tensor -> (C,) sum of squared weights of all convolutions that read a channel.

    Tensors that no convolution reads have gain 1 everywhere.
    """
    segments = sources_of(graph)
    gains = {t: np.zeros(graph.tensors[t].channels) for t in graph.tensors}
    for node in graph.nodes:
        if not isinstance(node, Conv):
            continue
        for term in node.terms:
            squares = np.square(term.weight, dtype=np.float64).sum((2, 3))  # (F, C / groups)
            power = squares.reshape(term.groups, -1, squares.shape[1]).sum(1).reshape(-1)
            base = 0
            for part in segments[term.input]:
                count = len(part.channels)
                np.add.at(gains[part.tensor], list(part.channels), power[base : base + count])
                base += count
    return {t: g if g.any() else np.ones_like(g) for t, g in gains.items()}


def rounding_cost(error: np.ndarray, signal: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """(C,) share of a tensor's weighted signal power that this rounding of each filter costs."""
    return error * gain / max(float((signal * gain).sum()), 1e-30)


def _narrow(node: Conv, word: int) -> bool:
    """Whether `word` consecutive filters read but a part of the inputs, in every term."""
    return all(t.groups > 1 and t.weight.shape[0] // t.groups <= word for t in node.terms)


def column_periods(graph: Graph, params: EngineParams) -> dict[str, int]:
    """tensor -> its period (QTensor): CI if all convolutions that write its class are grouped."""
    word, classes = params.in_channels, tied_classes(graph)
    writers: dict[str, list[Conv]] = {}
    for node in graph.nodes:
        if isinstance(node, Conv):
            writers.setdefault(classes[node.output], []).append(node)
    whole = {
        root: graph.tensors[root].channels > word and all(_narrow(n, word) for n in nodes)
        for root, nodes in writers.items()
    }
    return {t: word if whole.get(root, False) else 0 for t, root in classes.items()}


def local_classes(graph: Graph, classes: dict[str, str], periods: dict[str, int]) -> set[str]:
    """Classes whose channels keep their block of CI channels."""
    segments = segments_of(graph)
    local = {classes[t] for t, period in periods.items() if period}
    for node in graph.nodes:
        if isinstance(node, Conv) and periods[node.output]:
            local |= {classes[s] for t in node.terms for s in segments[t.input]}
        elif isinstance(node, Select):  # so that a part of a map is a part of its planes
            local |= {classes[s] for s in segments[node.input]}
    return local


def choose(positions: np.ndarray, costs: dict[int, np.ndarray]) -> np.ndarray:
    """(n,) kinds of channels that meet columns of the kinds `positions`; costs: (n,) by kind, see
    `assign_kinds`."""
    nothing = np.zeros(len(positions))
    coarse = [(costs.get(kind.number, nothing), kind.number) for kind in COARSE]
    chosen = np.full(len(positions), EXACT.number)
    for cost, kind in sorted(coarse, key=lambda entry: -entry[0].sum()):
        free = np.flatnonzero(chosen == EXACT.number)
        order = np.argsort(cost[free], kind="stable")
        chosen[free[order[: int((positions == kind).sum())]]] = kind
    return chosen


def assign_kinds(
    graph: Graph, params: EngineParams, costs: dict[str, dict[int, np.ndarray]]
) -> dict[str, tuple[int, ...] | None]:
    """tensor -> kinds of its channels; None for the network input.

    costs: by output tensor of every Conv (C,) of each coarse kind; a kind that is left out costs
    nothing. A class that contains the network input keeps channel order, since the host does not
    permute it.
    """
    classes = tied_classes(graph)
    total: dict[str, dict[int, np.ndarray]] = {}
    for node in graph.nodes:
        if isinstance(node, Conv):
            sums = total.setdefault(classes[node.output], {})
            for kind, cost in costs[node.output].items():
                sums[kind] = sums.get(kind, 0.0) + cost
    periods = column_periods(graph, params)
    local = local_classes(graph, classes, periods)
    chosen: dict[str, tuple[int, ...]] = {}
    ordered = {
        classes[t] for n in graph.nodes if isinstance(n, Interleave) for t in (n.input, n.output)
    }  # the phases of a map must agree in the order of their channels: the plain one
    for root in set(classes.values()):
        channels = graph.tensors[root].channels
        period = periods[root]
        positions = np.array([params.column_kind(j, period) for j in range(channels)])
        if root == classes[graph.input] or root not in total or root in ordered:
            chosen[root] = tuple(int(k) for k in positions)
            continue
        block = params.in_channels if root in local else channels
        parts = [
            choose(
                positions[first : first + block],
                {kind: cost[first : first + block] for kind, cost in total[root].items()},
            )
            for first in range(0, channels, block)
        ]
        chosen[root] = tuple(int(k) for k in np.concatenate(parts))
    views = {n.output for n in graph.nodes if isinstance(n, Concat | Select)}
    return {
        t: None if t == graph.input else chosen[classes[t]] for t in graph.tensors if t not in views
    }
