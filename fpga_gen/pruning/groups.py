"""The weight slots of a graph, in the order in which they go.

A slot is the inputs of a plane x the filters of a column group x one tap. Within a group the one
goes first that costs least while the weights that stay make up for it, then the next by what is
left; among groups the one whose next step costs least for each cycle that it saves, as in HALP
(Shen et al., NeurIPS 2022).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.pruning.curvature import Curvature
from fpga_gen.quant.calibrate import Calibration
from fpga_gen.quant.zero_order import SlotGroups, slot_groups


@dataclass(eq=False)
class PrunableGroup:
    """A column group of a layer. node: in the graph; filters: its rows of the weights; slots:
    columns of each weight slot; cycles: saved with one; steps: (slots that go together, noise at
    the outputs that comes of it, a share of their signal), in order; taken: steps that are; rest:
    the weights of the filters after `made` of the steps."""

    node: int
    filters: list[int]
    slots: list[np.ndarray]
    cycles: float
    steps: list[tuple[list[int], float]]
    taken: int = 0
    made: int = 0
    rest: np.ndarray | None = None


class Pruner:
    """A graph whose weights become zero slot by slot.

    calibration: with the moments of all its convolutions; sensitivity: see `sensitivities`; fixed:
    names of layers that keep their weights.
    """

    def __init__(
        self,
        graph: Graph,
        params: EngineParams,
        calibration: Calibration,
        sensitivity: dict[str, np.ndarray],
        fixed: set[str],
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.graph = graph
        self.moments = calibration.moments
        self.sensitivity = sensitivity
        found = slot_groups(graph, params)
        self.groups: list[PrunableGroup] = []
        for number, group in enumerate(found):
            if progress:
                progress(f"slots of column group {number + 1} of {len(found)}")
            if graph.nodes[group.node].name not in fixed:
                self.groups.append(self._of_group(group))

    def _layer(self, node: int) -> tuple[Conv, np.ndarray]:
        """A convolution and its weights, float64 (F, K)."""
        layer = self.graph.nodes[node]
        assert isinstance(layer, Conv)
        (term,) = layer.terms
        return layer, term.weight.reshape(len(term.weight), -1).astype(np.float64)

    def _of_group(self, group: SlotGroups) -> PrunableGroup:
        layer, weight = self._layer(group.node)
        filters, taps = list(group.filters), math.prod(layer.terms[0].kernel)
        columns = [np.array(plane) * taps + tap for plane in group.planes for tap in range(taps)]
        slots = [c for c in columns if weight[filters][:, c].any()]
        one = PrunableGroup(group.node, filters, slots, group.cycles, [])
        one.steps = [(gone, cost) for gone, cost, _ in self._order(one)]
        return one

    def _order(self, group: PrunableGroup) -> Iterator[tuple[list[int], float, np.ndarray]]:
        layer, weight = self._layer(group.node)
        gain = self.sensitivity[layer.name][group.filters]
        curvature = Curvature(self.moments[layer.name])
        return curvature.order(weight[group.filters], group.slots, gain)

    @property
    def slots(self) -> tuple[int, int]:
        """Weight slots that may go, and those that are taken."""
        taken = sum(len(gone) for g in self.groups for gone, _ in g.steps[: g.taken])
        return sum(len(g.slots) for g in self.groups), taken

    def choose(self, cycles: float) -> float:
        """Takes the steps that save `cycles` with the least noise for each of them, and returns
        that noise."""
        left = [n for n, group in enumerate(self.groups) if group.taken < len(group.steps)]
        heap = [(_price(self.groups[number]), number) for number in left]
        heapq.heapify(heap)
        noise = 0.0
        while heap and cycles > 0:
            _, number = heapq.heappop(heap)
            group = self.groups[number]
            gone, cost = group.steps[group.taken]
            group.taken += 1
            cycles -= group.cycles * len(gone)
            noise += cost
            if group.taken < len(group.steps):
                heapq.heappush(heap, (_price(group), number))
        return noise

    def pruned(self) -> Graph:
        """The graph without the weights of the slots that were taken; the others of their filters
        and the bias make up for it."""
        nodes = list(self.graph.nodes)
        by_node: dict[int, list[PrunableGroup]] = {}
        for group in self.groups:
            if group.taken:
                by_node.setdefault(group.node, []).append(group)
        for number, groups in by_node.items():
            layer, weight = self._layer(number)
            after = weight.copy()
            for group in groups:
                if group.made != group.taken:
                    *_, (_, _, group.rest) = islice(self._order(group), group.taken)
                    group.made = group.taken
                after[group.filters] = group.rest
            bias = layer.bias + (weight - after) @ self.moments[layer.name].mean
            shape = layer.terms[0].weight.shape
            term = replace(layer.terms[0], weight=after.reshape(shape).astype(np.float32))
            nodes[number] = replace(layer, terms=(term,), bias=bias.astype(np.float32))
        return replace(self.graph, nodes=tuple(nodes))


def _price(group: PrunableGroup) -> float:
    """Noise for a cycle saved by the next step."""
    gone, cost = group.steps[group.taken]
    return cost / (group.cycles * len(gone))
