"""What every lowering takes and returns, and the result map, which all of them write alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.epilogue import Epilogue, Writer
from fpga_gen.contract.isa import FetchInstruction, Instruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QTensor
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.lower.placement import Placement

Span = tuple[int, int, int]  # words [first, end) of the feature-map memory, bits of their bytes
WHOLE = -1  # all bytes of a word


@dataclass(frozen=True, eq=False)
class Granules:
    """A part of the stream: its length and what makes it, uint32 (length,). A schedule needs the
    lengths alone."""

    length: int
    make: Callable[[], np.ndarray]

    @staticmethod
    def of(values: np.ndarray) -> Granules:
        """These."""
        return Granules(len(values), lambda: values)


NO_STREAM = Granules.of(np.zeros(0, np.uint32))


@dataclass(frozen=True, eq=False)
class Context:
    """What surrounds a layer that is lowered.

    tensors: of the network; places: of the maps that the layer touches; rows: window [first, end)
    of its output rows (None: all); mix: modes may differ within a layer; skip: weight slots of
    zeros are left out; pieces: most parts in which a whole result map can be stored.
    """

    tensors: dict[str, QTensor]
    places: dict[str, Placement]
    params: EngineParams
    timing: Timing
    rows: tuple[int, int] | None = None
    mix: bool = True
    skip: bool = True
    pieces: int = 1


@dataclass(frozen=True)
class Skipped:
    """Weight slots of an instruction's groups without skipping, those that are left out, and what
    they would have cost: multiply-accumulates of the float layer, bits of its weights at their
    stored width, bytes of the stream."""

    slots: int = 0
    left_out: int = 0
    macs: int = 0
    bits: int = 0
    bytes: int = 0

    def __add__(self, other: Skipped) -> Skipped:
        return Skipped(
            self.slots + other.slots,
            self.left_out + other.left_out,
            self.macs + other.macs,
            self.bits + other.bits,
            self.bytes + other.bytes,
        )


@dataclass(frozen=True, eq=False)
class Lowered:
    """An instruction, the granules it takes from the stream, and the words it touches. final: words
    from the start of its result map that may be stored before the rest is computed; skipped: what
    it leaves out; fetch: of a LOAD, the FETCH of its words."""

    instruction: Instruction
    stream: Granules
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    final: int = 0
    skipped: Skipped = Skipped()
    fetch: FetchInstruction | None = None


def whole_words(placement: Placement) -> tuple[Span, ...]:
    """The words of a map for an instruction that moves whole words."""
    return ((*placement.span, WHOLE),)


def own_bytes(placement: Placement) -> tuple[Span, ...]:
    """The bytes of a map's own channels: other maps may hold the rest of its first and its last
    plane."""
    layout = placement.layout
    if layout.low:
        return whole_words(placement)
    full = (1 << layout.word_channels) - 1
    size = layout.height * layout.width
    spans = []
    for plane in range(layout.planes):
        start = plane * layout.word_channels
        first = max(layout.byte_offset - start, 0)
        end = min(layout.byte_offset + layout.channels - start, layout.word_channels)
        lanes = full & ((1 << end) - (1 << first))
        base = placement.base + plane * layout.plane
        if spans and spans[-1][2] == lanes:
            spans[-1] = (spans[-1][0], base + size, lanes)
        else:
            spans.append((base, base + size, lanes))
    return tuple(spans)


def writing(
    instruction: Writer,
    params: EngineParams,
    epilogue: Epilogue,
    place: Placement,
    at: tuple[int, int],
) -> Writer:
    """The instruction with the fields of its result map, from (plane, row) `at` on."""
    assert (place.layout.low != 0) == (epilogue.format.bits == 16)
    return replace(
        epilogue.into(instruction),
        out_base=pack_address(place.address(*at), params.banks),
        out_plane=pack_address(place.layout.plane, params.banks),
        out_low=pack_address(place.layout.low, params.banks),
    )
