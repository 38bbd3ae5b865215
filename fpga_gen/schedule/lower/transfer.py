"""Lowering of transfers: rows of a map from its home in DRAM to the memory, or back, by planes."""

from __future__ import annotations

from collections.abc import Iterator

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import FetchInstruction, LoadInstruction, Region, StoreInstruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.lower.lowered import NO_STREAM, WHOLE, Lowered
from fpga_gen.schedule.lower.placement import Home, Placement
from fpga_gen_host.regions import BEAT_BYTES, InputLayout


def lower_input(layout: InputLayout, place: Placement, params: EngineParams) -> Lowered:
    """The LOAD of a whole input."""
    load = LoadInstruction(
        layer=place.tensor,
        words=layout.part,
        stream_words=layout.stream_words,
        packed=int(layout.packed),
        base=pack_address(place.base, params.banks),
        stride=pack_address(params.load_stride(layout.part), params.banks),
    )
    fetch = FetchInstruction(region=Region.INPUT, words=layout.stream_words)
    written = ((place.base, place.base + layout.part * layout.load_words, WHOLE),)
    return Lowered(load, NO_STREAM, (), written, fetch=fetch)


def lower_load(
    rows: tuple[int, int], place: Placement, home: Home, params: EngineParams
) -> list[Lowered]:
    """LOADs of rows [first, end). Each writes a few words behind its rows, too, which the one of
    the next plane overwrites: the order counts."""
    count = (rows[1] - rows[0]) * place.layout.width
    return [
        _load(place.tensor, base, count, home, word, params)
        for base, word in _planes(place, home, rows)
    ]


def lower_store(
    rows: tuple[int, int], place: Placement, home: Home, params: EngineParams
) -> list[Lowered]:
    """STOREs of rows [first, end)."""
    count = (rows[1] - rows[0]) * place.layout.width
    return [
        _store(place.tensor, base, count, home, word, params)
        for base, word in _planes(place, home, rows)
    ]


def _planes(place: Placement, home: Home, rows: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """(word in memory, word of the home) of the first pixel in every byte plane."""
    for low in (False, True) if home.layout.low else (False,):
        for plane in range(home.layout.planes):
            word = plane * home.layout.plane + rows[0] * home.layout.width
            yield place.address(plane, rows[0], low), word + (home.layout.low if low else 0)


def _beat(home: Home, word: int, params: EngineParams) -> int:
    """Beat of the region that begins with a word of a home."""
    first = home.offset + word * params.in_channels
    assert first % BEAT_BYTES == 0, "rows begin with a beat"
    return first // BEAT_BYTES


def _load(
    tensor: str, base: int, count: int, home: Home, word: int, params: EngineParams
) -> Lowered:
    part = params.load_part(count)
    load = LoadInstruction(
        layer=tensor,
        words=part,
        stream_words=part,
        base=pack_address(base, params.banks),
        stride=pack_address(params.load_stride(part), params.banks),
    )
    fetch = FetchInstruction(region=home.region, words=part, offset=_beat(home, word, params))
    writes = ((base, base + part * params.load_words, WHOLE),)
    return Lowered(load, NO_STREAM, (), writes, fetch=fetch)


def _store(
    tensor: str, base: int, count: int, home: Home, word: int, params: EngineParams
) -> Lowered:
    count += -count % params.beat_words
    store = StoreInstruction(
        layer=tensor,
        words=count,
        base=pack_address(base, params.banks),
        offset=_beat(home, word, params),
    )
    return Lowered(store, NO_STREAM, ((base, base + count, WHOLE),), ())
