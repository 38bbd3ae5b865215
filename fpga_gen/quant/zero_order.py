"""Zero-aware filter allocation: filters whose weights are zero alike share a column group.

The engine leaves out a weight slot (CI inputs of a plane x the columns of a group x one tap) that
is all zero: of a group's filters only the union of their weights counts, as in ZeNA (Kim, Ahn, Yoo,
IEEE Design & Test 2018). Which channels share a group, and as inputs of other layers a plane, is
free: it is the order of the channels. An order is a list of cells, sets of channels that fill
consecutive positions; within a cell those that lose least take the positions of coarse columns, as
`assign_kinds` has it for the whole map.

Every class of tied tensors begins in the network's own order. Then some orders are tried, class
after class, and the one with the least cost of all layers that write or read it is kept: pixels x
columns x slots that remain. A class whose order saves nothing keeps the free choice of
`assign_kinds`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Conv, Graph, Interleave
from fpga_gen.quant.kinds import choose, column_periods, local_classes, tied_classes
from fpga_gen.quant.segments import sources_of

Cells = tuple[tuple[int, ...], ...]
WORTH = 0.01  # share of the layers' cost that an order must save
PASSES = 1  # over all classes; a second one gains nothing on HarDNet-MSEG


@dataclass(frozen=True)
class ChannelOrder:
    """Column kind of every channel and its position."""

    kinds: tuple[int, ...]
    positions: tuple[int, ...]


def in_order(cells: Cells, costs: dict[int, np.ndarray], params: EngineParams) -> ChannelOrder:
    """Channels cell after cell; costs: (C,) by coarse kind, see `assign_kinds`."""
    count, first = sum(map(len, cells)), 0
    kinds, positions = np.zeros(count, int), np.zeros(count, int)
    for cell in cells:
        channels = np.array(cell)
        places = np.arange(first, first + len(cell))
        columns = np.array([params.column_kind(int(p)) for p in places])
        chosen = choose(columns, {kind: cost[channels] for kind, cost in costs.items()})
        for kind in np.unique(columns):
            positions[channels[chosen == kind]] = places[columns == kind]
        kinds[channels] = chosen
        first += len(cell)
    return ChannelOrder(tuple(kinds.tolist()), tuple(positions.tolist()))


@dataclass(frozen=True)
class SlotGroups:
    """A column group of a convolution of one term: its weight slots are planes x taps. node: in the
    graph; filters; planes: the inputs of each; cycles: of the array for one slot."""

    node: int
    filters: tuple[int, ...]
    planes: tuple[tuple[int, ...], ...]
    cycles: int


@dataclass(frozen=True, eq=False)
class _Layer:
    """A convolution: its weights' places (filters, inputs, taps) of every segment it reads. node:
    in the graph; terms: how many it sums."""

    node: int
    terms: int
    output: str
    pixels: int
    segments: tuple[tuple[str, np.ndarray], ...]


def _layers(graph: Graph) -> list[_Layer]:
    """The dense convolutions of whole maps; a grouped one keeps its order anyway."""
    segments, layers = sources_of(graph), []
    for number, node in enumerate(graph.nodes):
        if not isinstance(node, Conv) or any(t.groups > 1 for t in node.terms):
            continue
        read = [s for t in node.terms for s in segments[t.input]]
        if any(s.channels != tuple(range(graph.tensors[s.tensor].channels)) for s in read):
            continue
        parts = []
        for term in node.terms:
            live = (term.weight != 0).reshape(*term.weight.shape[:2], -1)
            first = 0
            for segment in segments[term.input]:
                count = len(segment.channels)
                parts.append((segment.tensor, live[:, first : first + count]))
                first += count
        out = graph.tensors[node.output]
        pixels = out.height * out.width
        layers.append(_Layer(number, len(node.terms), node.output, pixels, tuple(parts)))
    return layers


def _by_plane(live: np.ndarray, positions: Sequence[int], word: int) -> np.ndarray:
    """bool (filters, planes, taps) of (filters, inputs, taps)."""
    placed = np.empty_like(live)
    placed[:, np.asarray(positions)] = live
    return np.stack(
        [placed[:, at : at + word].any(1) for at in range(0, live.shape[1], word)], axis=1
    )


def _can_skip(live: np.ndarray, params: EngineParams) -> bool:
    """Whether an order of the channels may make a slot of zeros out of (filters, inputs, taps): a
    tap has as many as the smallest slot, at the ends of both, has weights."""
    filters, inputs, _ = live.shape
    smallest = (filters % params.sub_columns or params.sub_columns) * (
        inputs % params.in_channels or params.in_channels
    )
    zeros = filters * inputs - np.count_nonzero(live, axis=(0, 1))
    return bool(zeros.max() >= smallest)


class _Search:
    """Orders of all classes, and what the layers cost with them."""

    def __init__(
        self, graph: Graph, params: EngineParams, costs: dict[str, dict[int, np.ndarray]]
    ) -> None:
        self.params = params
        self.classes = tied_classes(graph)
        self.layers = _layers(graph)
        self.channels = {root: graph.tensors[root].channels for root in self.classes.values()}
        self.costs: dict[str, dict[int, np.ndarray]] = {root: {} for root in self.channels}
        for name, kinds in costs.items():
            total = self.costs[self.classes[name]]
            for kind, cost in kinds.items():
                total[kind] = total.get(kind, 0.0) + cost
        self.orders: dict[str, ChannelOrder] = {}
        self.touched: dict[str, list[int]] = {root: [] for root in self.channels}
        for number, layer in enumerate(self.layers):
            for root in {self.classes[n] for n in (layer.output, *(s for s, _ in layer.segments))}:
                self.touched[root].append(number)
        self.planes: dict[tuple[int, int], tuple[ChannelOrder, np.ndarray]] = {}
        for root, count in self.channels.items():
            self.orders[root] = in_order((tuple(range(count)),), self.costs[root], params)
        # Other orders than the free one would not be kept by these.
        self.free = set(self.channels) - {self.classes[graph.input]}
        self.free -= local_classes(graph, self.classes, column_periods(graph, params))
        for node in graph.nodes:
            if isinstance(node, Interleave):
                self.free -= {self.classes[node.input], self.classes[node.output]}

    def cost(self, number: int) -> float:
        """Pixels x columns x slots of a layer, in the cheapest partition into groups."""
        columns = self.params.sub_columns * _partition(self.live(number), self.params)[0]
        return self.layers[number].pixels * columns

    def live(self, number: int) -> np.ndarray:
        """bool (column subgroups, slots): which have weights of a layer."""
        layer, params = self.layers[number], self.params
        parts = []
        for index, (name, live) in enumerate(layer.segments):
            order = self.orders[self.classes[name]]
            known = self.planes.get((number, index))
            if known is None or known[0] is not order:
                planes = _by_plane(live, order.positions, params.in_channels)
                known = (order, planes.reshape(len(live), -1))
                self.planes[number, index] = known
            parts.append(known[1])
        slots = np.concatenate(parts, axis=1)
        placed = np.empty_like(slots)
        placed[np.asarray(self.orders[self.classes[layer.output]].positions)] = slots
        step, rows = params.sub_columns, len(slots)
        subgroups = [placed[at : at + step].any(0) for at in range(0, rows, step)]
        return np.stack(subgroups)

    def total(self, root: str) -> float:
        """Cost of the layers that a class touches."""
        return sum(self.cost(number) for number in self.touched[root])

    def signatures(self, root: str) -> tuple[np.ndarray, np.ndarray]:
        """bool (C, n) each: the zero pattern of every channel as a filter, by natural planes of its
        inputs, and as an input, by natural halves of a plane of the filters."""
        word, none = self.params.in_channels, np.zeros((self.channels[root], 0), bool)
        written, read = [none], [none]
        for number in self.touched[root]:
            layer = self.layers[number]
            for name, live in layer.segments:
                if self.classes[layer.output] == root:
                    planes = _by_plane(live, range(live.shape[1]), word)
                    written.append(planes.reshape(len(live), -1))
                if self.classes[name] == root:
                    filters = _by_plane(live.swapaxes(0, 1), range(len(live)), word // 2)
                    read.append(filters.reshape(live.shape[1], -1))
        return np.concatenate(written, axis=1), np.concatenate(read, axis=1)

    def candidates(self, root: str) -> Iterator[Cells]:
        """Orders to try: the network's own, in cells of equal channels of a plane; planes and cells
        each behind the one that is most like it; as many filters of a pattern as fill column
        groups, then what is left of all patterns."""
        written, read = self.signatures(root)
        both, word = np.concatenate([written, read], axis=1), self.params.in_channels
        count = self.channels[root]

        def cells(channels: Sequence[int]) -> Cells:
            """Runs of equal channels of one plane of the network's own order."""
            runs: list[list[int]] = []
            for channel in channels:
                before = runs[-1][-1] if runs else channel
                same = channel // word == before // word and (both[channel] == both[before]).all()
                if runs and same:
                    runs[-1].append(channel)
                else:
                    runs.append([channel])
            return tuple(map(tuple, runs))

        natural = cells(range(count))
        yield natural
        yield cells([c for n in _chain(both[::word]) for c in range(count)[n * word :][:word]])
        yield tuple(natural[n] for n in _chain(both[[cell[0] for cell in natural]]))
        patterns: dict[bytes, list[int]] = {}
        for channel in range(count):
            patterns.setdefault(written[channel].tobytes(), []).append(channel)
        step = self.params.sub_columns
        for size in {step, *(self.params.group_channels(m) for m in self.params.modes)}:
            whole = [c for p in patterns.values() for c in p[: len(p) // size * size]]
            rest = sorted(set(range(count)) - set(whole))
            yield cells([*whole, *rest])
            ends = [p[len(p) // size * size :] for p in patterns.values()]
            yield cells([*whole, *(c for end in sorted(ends, key=len, reverse=True) for c in end)])


def _partition(live: np.ndarray, params: EngineParams) -> tuple[float, list[tuple[int, int]]]:
    """Least sum of subgroups x slots of groups, and the groups: (first subgroup, mode) of each.
    live: bool (subgroups, slots)."""
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)] + [(np.inf, 0, 0)] * len(live)
    for at in range(len(live)):
        for mode in params.modes:
            size = params.subgroups // mode
            end = min(at + size, len(live))
            kept = max(1, int(live[at : at + size].any(0).sum()))
            best[end] = min(best[end], (best[at][0] + size * kept, at, mode))
    groups, end = [], len(live)
    while end:
        groups.append(best[end][1:])
        end = best[end][1]
    return best[-1][0], groups[::-1]


def _chain(marks: np.ndarray) -> list[int]:
    """Rows of a bool array, each behind the one it differs least from."""
    left, chain = list(range(1, len(marks))), [0]
    while left:
        distances = (marks[left] != marks[chain[-1]]).sum(1)
        chain.append(left.pop(int(distances.argmin())))
    return chain


def zero_orders(
    graph: Graph, params: EngineParams, costs: dict[str, dict[int, np.ndarray]]
) -> dict[str, ChannelOrder]:
    """tensor -> order, of those for which another order than the free one pays.

    costs: as in `assign_kinds`.
    """
    search, kept = _searched(graph, params, costs)
    return {t: search.orders[root] for t, root in search.classes.items() if root in kept}


def slot_groups(graph: Graph, params: EngineParams) -> list[SlotGroups]:
    """The column groups in which an engine computes a graph whose zeros decide about them. Where
    there are none yet, those of the network's own order, which every search tries, whatever the
    channels cost on coarse columns."""
    search, kept = _searched(graph, params, {})
    for root in search.free - kept:
        own = tuple((channel,) for channel in range(search.channels[root]))
        search.orders[root] = in_order(own, search.costs[root], params)
    found = []
    for number, layer in enumerate(search.layers):
        if layer.terms > 1:
            continue
        planes: list[tuple[int, ...]] = []
        first = 0
        for name, live in layer.segments:
            order = np.argsort(search.orders[search.classes[name]].positions)
            for at in range(0, live.shape[1], params.in_channels):
                planes.append(tuple((first + order[at : at + params.in_channels]).tolist()))
            first += live.shape[1]
        order = np.argsort(search.orders[search.classes[layer.output]].positions)
        for start, mode in _partition(search.live(number), params)[1]:
            at = start * params.sub_columns
            filters = order[at : at + params.group_channels(mode)]
            pixels = -(-layer.pixels // (params.pixels * mode))
            tiles = -(-pixels // params.tile_groups)
            cycles = max(pixels, tiles * params.slot_minimum)
            found.append(SlotGroups(layer.node, tuple(filters.tolist()), tuple(planes), cycles))
    return found


def _searched(
    graph: Graph, params: EngineParams, costs: dict[str, dict[int, np.ndarray]]
) -> tuple[_Search, set[str]]:
    """The search when it is done, and the classes that have another order than the free one."""
    search = _Search(graph, params, costs)
    zeros = {
        number
        for number, layer in enumerate(search.layers)
        if any(_can_skip(live, params) for _, live in layer.segments)
    }
    # Another layer costs the same in any order.
    classes = [r for r in search.channels if r in search.free and zeros & set(search.touched[r])]
    options: dict[str, list[ChannelOrder]] = {}
    for root in classes:
        cells = dict.fromkeys(search.candidates(root))
        orders = [in_order(c, search.costs[root], params) for c in cells]
        options[root] = [search.orders[root], *orders]
        search.orders[root] = orders[0]
    for _ in range(PASSES):
        for root in classes:
            totals = []
            for order in options[root]:
                search.orders[root] = order
                totals.append(search.total(root))
            best = int(np.argmin(totals))
            best = best if totals[best] < totals[0] * (1 - WORTH) else 0
            search.orders[root] = options[root][best]
    return search, {root for root in classes if search.orders[root] is not options[root][0]}
