"""What a convolution reads, concatenations and selections resolved: channels of stored maps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fpga_gen.graph.ir import Concat, Graph, Select


@dataclass(frozen=True)
class Segment:
    """Channels of a stored map, in the order in which they are read."""

    tensor: str
    channels: tuple[int, ...]

    def of(self, values: np.ndarray) -> np.ndarray:
        """The channels of a map (C, ...); the map itself if it is all of them."""
        if self.channels == tuple(range(len(values))):
            return values
        return values[list(self.channels)]


def sources_of(graph: Graph) -> dict[str, tuple[Segment, ...]]:
    """tensor -> the channels of stored maps that it consists of."""
    table: dict[str, list[tuple[str, int]]] = {}
    found: dict[str, tuple[Segment, ...]] = {
        name: (Segment(name, tuple(range(t.channels))),) for name, t in graph.tensors.items()
    }

    def channels(name: str) -> list[tuple[str, int]]:
        return table.get(name) or [(name, c) for c in range(graph.tensors[name].channels)]

    for node in graph.nodes:
        if isinstance(node, Concat):
            table[node.output] = [c for name in node.inputs for c in channels(name)]
            found[node.output] = tuple(s for name in node.inputs for s in found[name])
        elif isinstance(node, Select):
            source = channels(node.input)
            table[node.output] = picked = [source[c] for c in node.channels]
            found[node.output] = tuple(
                Segment(name, tuple(c for _, c in run))
                for name, run in groupby(picked, key=lambda item: item[0])
            )
    return found


def on_whole_maps(
    weight: np.ndarray, segments: tuple[Segment, ...], depths: dict[str, int]
) -> tuple[tuple[str, ...], np.ndarray]:
    """(maps, weight) of a convolution that reads all channels of its maps, with zeros for those
    that it does not use; a map comes again where a channel is read twice.

    weight: (F, channels of the segments, kh, kw); depths: channels of every map.
    """
    if all(s.channels == tuple(range(depths[s.tensor])) for s in segments):
        return tuple(s.tensor for s in segments), weight
    parts: list[tuple[str, np.ndarray, np.ndarray]] = []  # map, its weight, channels used
    base = 0
    for segment in segments:
        depth = depths[segment.tensor]
        for position, channel in enumerate(segment.channels):
            place = next((p for p in parts if p[0] == segment.tensor and not p[2][channel]), None)
            if place is None:
                blank = np.zeros((len(weight), depth, *weight.shape[2:]), weight.dtype)
                place = (segment.tensor, blank, np.zeros(depth, bool))
                parts.append(place)
            place[1][:, channel] = weight[:, base + position]
            place[2][channel] = True
        base += len(segment.channels)
    return tuple(p[0] for p in parts), np.concatenate([p[1] for p in parts], axis=1)
