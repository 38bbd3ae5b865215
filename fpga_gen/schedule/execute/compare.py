"""Bit-for-bit comparison of maps; the first difference is named by layer, row, column, channel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.execute.interpreter import TracedMap


@dataclass(frozen=True)
class Mismatch:
    """First element, in raster order of (row, column, channel), in which two maps differ."""

    layer: str
    tensor: str
    row: int
    column: int
    channel: int
    expected: int
    got: int
    differing: int
    elements: int

    def __str__(self) -> str:
        return (
            f"layer '{self.layer}' (tensor '{self.tensor}'): row {self.row}, column "
            f"{self.column}, channel {self.channel}: expected {self.expected}, got {self.got}; "
            f"{self.differing} of {self.elements} elements differ"
        )


def first_mismatch(
    expected: np.ndarray, got: np.ndarray, tensor: str, layer: str, first_row: int = 0
) -> Mismatch | None:
    """Compare two stored maps (channels, rows, columns); None if they are equal."""
    if expected.shape != got.shape:
        raise ValueError(f"tensor '{tensor}': shapes {expected.shape} and {got.shape} differ")
    differ = expected != got
    if not differ.any():
        return None
    row, column, channel = np.unravel_index(
        int(np.argmax(differ.transpose(1, 2, 0))), differ.transpose(1, 2, 0).shape
    )
    return Mismatch(
        layer=layer,
        tensor=tensor,
        row=first_row + int(row),
        column=int(column),
        channel=int(channel),
        expected=int(expected[channel, row, column]),
        got=int(got[channel, row, column]),
        differing=int(differ.sum()),
        elements=differ.size,
    )


def layer_of(qgraph: QuantGraph, tensor: str) -> str:
    """Name of the node that computes a tensor; 'input' for the network's input."""
    return next((n.name for n in qgraph.nodes if n.output == tensor), "input")


def compare_maps(
    qgraph: QuantGraph, reference: Mapping[str, np.ndarray], maps: Iterable[TracedMap]
) -> Mismatch | None:
    """First mismatch, in program order, between traced maps and the integer interpreter's."""
    for item in maps:
        rows = slice(item.first_row, item.first_row + item.values.shape[1])
        found = first_mismatch(
            reference[item.tensor][:, rows],
            item.values,
            item.tensor,
            layer_of(qgraph, item.tensor),
            item.first_row,
        )
        if found:
            return found
    return None
