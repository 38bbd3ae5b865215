"""Segments of a network whose maps spill to DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fpga_gen.schedule.program import SegmentCost


@dataclass(frozen=True)
class SegmentFacts(SegmentCost):
    """A segment as the report has it."""

    kind: str = "counted"

    @property
    def title(self) -> str:
        """Its first and last layer."""
        return " to ".join(dict.fromkeys((self.layers[0], self.layers[-1])))

    @property
    def dram_bytes(self) -> int:
        return self.loaded_bytes + self.stored_bytes + self.weight_bytes


SEGMENT_HEAD = ("layers", "bands", "loaded", "stored", "weights", "bytes, times their bound")
SEGMENT_TEXT = (
    "The maps do not fit the memory at once, so layers run band by band between transfers. The "
    "bound of a segment: its weights once, at their stored width, and once every map that it "
    "loads or stores. What the frame as a whole must move is the lower bound in the table of the "
    "frame."
)


def segment_rows(segments: Sequence[SegmentFacts]) -> list[tuple[str, ...]]:
    """One row of text for each segment that moves maps, see `SEGMENT_HEAD`."""
    return [
        (
            segment.title,
            f"{segment.bands}",
            f"{segment.loaded_bytes:,}",
            f"{segment.stored_bytes:,}",
            f"{segment.weight_bytes:,}",
            f"{segment.dram_bytes / max(1, segment.bound_bytes):.2f}",
        )
        for segment in segments
        if segment.loaded_bytes or segment.stored_bytes
    ]
