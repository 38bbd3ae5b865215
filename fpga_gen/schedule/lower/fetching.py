"""FETCHes: what the stream reader reads next, and where in the program it is told.

The words of a LOAD and the weights between two LOADs are a part of the stream each, in the order in
which they are consumed. A FETCH stands as far ahead of its consumer as the order of the others, the
STORE of what it reads, and the queue of the reader allow; where nothing else holds it, behind the
last instruction that computes before the LOAD, so that the words come while that runs. It waits for
the STOREs before it if none between that STORE and itself did: later STOREs run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.isa import (
    FetchInstruction,
    LoadInstruction,
    PageInstruction,
    Region,
    StoreInstruction,
    TableInstruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.lower.lowered import NO_STREAM, Lowered
from fpga_gen_host.regions import BEAT_BYTES

AHEAD = 24  # FETCHes before the consumer of the first of them; the reader queues 32


@dataclass(frozen=True)
class _Part:
    """Items [first, end) consume a part of the stream; ready: it may stand before this item."""

    first: int
    end: int
    ready: int


def _parts(body: Sequence[Lowered]) -> list[_Part]:
    """The parts of the stream in order; weights where there are any, and behind the last LOAD."""
    loads = [at for at, item in enumerate(body) if isinstance(item.instruction, LoadInstruction)]
    parts = []
    begin = 0
    for at in [*loads, len(body)]:
        if at == len(body) or _has_weights(body[begin:at]):
            parts.append(_Part(begin, at, 0))
        if at < len(body):
            parts.append(_Part(at, at + 1, _stored_before(body, at)))
        begin = at + 1
    return parts


def _has_weights(items: Sequence[Lowered]) -> bool:
    return any(item.stream.length for item in items)


def _stored_before(body: Sequence[Lowered], at: int) -> int:
    """Item behind the last STORE of the map that a LOAD reads. Whatever rows that wrote: its words
    may be overwritten from the LOAD on (see plan.demands)."""
    layer = body[at].instruction.layer
    for before in range(at - 1, -1, -1):
        other = body[before].instruction
        if isinstance(other, StoreInstruction) and other.layer == layer:
            return before + 1
    return 0


def _places(body: Sequence[Lowered], parts: Sequence[_Part]) -> list[int]:
    """Item in front of which the FETCH of every part stands."""
    places: list[int] = []
    for number, part in enumerate(parts):
        place = places[-1] if places else 0
        if isinstance(body[part.first].instruction if part.first < len(body) else None,
                      LoadInstruction):  # fmt: skip
            free = part.first
            while free and isinstance(
                body[free - 1].instruction, LoadInstruction | StoreInstruction | TableInstruction
            ):
                free -= 1
            place = max(place, free, part.ready)
        if number >= AHEAD:
            place = max(place, parts[number - AHEAD].end)
        assert place <= part.first, "a FETCH stands before what consumes its words"
        places.append(place)
    return places


def with_fetches(body: Sequence[Lowered]) -> list[Lowered]:
    """The program with its FETCHes, those of the weights still empty."""
    parts = _parts(body)
    out: list[Lowered] = []
    places = _places(body, parts)
    number = 0
    waited = 0  # for all STOREs in front of this item
    for at in range(len(body) + 1):
        while number < len(parts) and places[number] == at:
            part = parts[number]
            item = body[part.first] if part.first < len(body) else None
            order = (item.fetch if item is not None else None) or FetchInstruction(
                region=Region.WEIGHTS
            )
            if part.ready > waited:
                order, waited = replace(order, wait=1), at
            out.append(Lowered(order, NO_STREAM, (), ()))
            number += 1
        if at < len(body):
            out.append(body[at])
    return out


def barred_from_pages(items: Sequence[Lowered]) -> frozenset[int]:
    """Items in front of which no PAGE may stand: its words would be a part of the stream alone."""
    barred: list[int] = []
    begin = 0
    for at, item in enumerate(items):
        if isinstance(item.instruction, LoadInstruction):
            if not _has_weights(items[begin:at]):
                barred += range(begin, at + 1)
            begin = at + 1
    return frozenset(barred)


def fill_fetches(items: Sequence[Lowered], params: EngineParams) -> list[Lowered]:
    """The program with the FETCHes of weights filled or, where there are none, left out."""
    sizes = [_granules(part, params) // params.stream_granules for part in weight_parts(items)]
    out: list[Lowered] = []
    number = offset = 0
    for item in items:
        order = item.instruction
        if isinstance(order, FetchInstruction) and order.region == Region.WEIGHTS:
            if number == len(sizes):
                continue
            words = sizes[number]
            item = replace(item, instruction=replace(order, words=words, offset=offset))
            offset += words * params.ports
            number += 1
        out.append(item)
    return out


def weight_parts(items: Sequence[Lowered]) -> list[list[Lowered]]:
    """What consumes weights and pages, by part of the stream, those of FETCHes of weights."""
    parts: list[list[Lowered]] = []
    part: list[Lowered] = []
    for item in items:
        if isinstance(item.instruction, LoadInstruction):
            if _has_weights(part):
                parts.append(part)
            part = []
        else:
            part.append(item)
    return [*parts, part] if _has_weights(part) else parts


def _granules(items: Sequence[Lowered], params: EngineParams) -> int:
    """Length of their part of the weight region, whole stream words."""
    length = 0
    for item in items:
        if isinstance(item.instruction, PageInstruction):
            length += -length % params.stream_granules
        length += item.stream.length
    return length + -length % params.stream_granules


def stream_words(items: Sequence[Lowered], params: EngineParams) -> np.ndarray:
    """Their part of the weight region as stream words, uint8 (N, bytes of a stream word)."""
    parts, length = [np.zeros(0, np.uint32)], 0
    for item in items:
        if isinstance(item.instruction, PageInstruction):  # takes whole words
            parts.append(np.zeros(-length % params.stream_granules, np.uint32))
            length += len(parts[-1])
        parts.append(item.stream.make())
        length += len(parts[-1])
    parts.append(np.zeros(-length % params.stream_granules, np.uint32))
    granules = np.concatenate(parts)
    return granules.astype("<u4").view(np.uint8).reshape(-1, params.ports * BEAT_BYTES)
