"""STOREs of bands: beside what follows, up to what writes their words again."""

from __future__ import annotations

from fpga_gen.contract.isa import (
    EndInstruction,
    LoadInstruction,
    StoreInstruction,
    VectorInstruction,
)
from fpga_gen.contract.records import SourceRecord
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING
from fpga_gen.schedule.lower.lowered import NO_STREAM, WHOLE, Granules, Lowered
from fpga_gen.schedule.spreading import spread_stores
from tests.schedule.builder import THREE_MODES

SIZE = 64  # words of a map


def words(place: int) -> tuple[tuple[int, int, int], ...]:
    return ((SIZE * place, SIZE * (place + 1), WHOLE),)


def writer(name: str, place: int, pixels: int = 40) -> Lowered:
    """What computes a map at a place, in so many cycles and a few."""
    instruction = VectorInstruction(
        layer=name, direct=1, n_blocks=1, n_sources=1, y_taps=1, x_reads=1, out_h=1, out_w=pixels,
        sources=(SourceRecord(),),
    )  # fmt: skip
    stream = Granules(THREE_MODES.param_granules(1), NO_STREAM.make)
    return Lowered(instruction, stream, (), words(place))


def store(name: str, place: int) -> Lowered:
    return Lowered(StoreInstruction(layer=name, words=SIZE), NO_STREAM, words(place), ())


def load(name: str, place: int) -> Lowered:
    return Lowered(LoadInstruction(layer=name, words=8), NO_STREAM, (), words(place))


END = Lowered(EndInstruction(), NO_STREAM, (), ())


def spread(*body: Lowered) -> tuple[list[str], list[int]]:
    out, places = spread_stores(body, THREE_MODES, DEFAULT_TIMING)
    names = []
    for item in out:
        order = item.instruction
        nothing = isinstance(order, StoreInstruction) and not order.words
        names.append(f"{order.op.name} {'nothing' if nothing else order.layer}".strip())
    return names, places


def test_the_next_writer_of_its_words_waits() -> None:
    names, places = spread(
        writer("a", 0), store("a", 0), writer("b", 1), writer("a", 0), store("a", 0), END
    )
    assert names == [
        "VECTOR a", "STORE a", "VECTOR b", "STORE nothing", "VECTOR a", "STORE a", "END",
    ]  # fmt: skip
    assert places == [0, 0, 2, 4, 4, 6]


def test_one_at_a_time() -> None:
    """A STORE would hold up what follows until the one before it has ended: it waits instead, until
    the unit is free or its words are wanted."""
    planes = (writer("a", 0), writer("b", 1), store("a", 0), store("b", 1))
    names, _ = spread(*planes, writer("c", 2), writer("d", 3, pixels=900), writer("e", 4), END)
    assert names == [
        "VECTOR a", "VECTOR b", "STORE a", "VECTOR c", "VECTOR d", "STORE b", "VECTOR e", "END",
    ]  # fmt: skip
    names, _ = spread(*planes, writer("b", 1), writer("c", 2), END)
    assert names == [
        "VECTOR a", "VECTOR b", "STORE a", "STORE b", "STORE nothing", "VECTOR b", "VECTOR c",
        "END",
    ]  # fmt: skip


def test_a_map_is_stored_before_it_is_loaded() -> None:
    names, _ = spread(writer("a", 0), store("a", 0), writer("b", 1), load("a", 2), END)
    assert names.index("STORE a") < names.index("LOAD a")
