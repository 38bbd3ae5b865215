"""Records: layout from the class, encoding and decoding, tables, refusals."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

import pytest

from fpga_gen.contract.fields import Record, bits, constant, layout_of, signed, table


@dataclass(frozen=True)
class Item(Record):
    value: int = bits(40)
    other: int = signed(7, word=True)


@dataclass(frozen=True)
class Quarter(Record):
    PER_WORD: ClassVar[int] = 4

    value: int = signed(11)


@dataclass(frozen=True)
class Head(Record):
    kind: int = constant(4, "what it is", 9)
    n_items: int = bits(5)
    plain: int = bits(1)
    n_words: int = bits(54)
    last: int = signed(64, word=True)
    note: str = "not encoded"
    items: tuple[Item, ...] = table(Item, "n_items")
    quarters: tuple[Quarter, ...] = table(Quarter, "n_words", unless="plain")


def test_layout_follows_the_class() -> None:
    found = [(f.name, f.word, f.lsb, f.bits, f.signed) for f in Head.layout()]
    assert found == [
        ("kind", 0, 0, 4, False),
        ("n_items", 0, 4, 5, False),
        ("plain", 0, 9, 1, False),
        ("n_words", 0, 10, 54, False),
        ("last", 1, 0, 64, True),
    ]
    assert (Head.layout().words, Item.layout().words, Item.layout().bits) == (2, 2, 71)


@pytest.mark.parametrize("plain", [0, 1])
def test_what_is_encoded_is_decoded(plain: int) -> None:
    rng = random.Random(plain)
    quarters = () if plain else tuple(Quarter(rng.randint(-1024, 1023)) for _ in range(8))
    items = tuple(Item(rng.getrandbits(40), rng.randint(-64, 63)) for _ in range(3))
    head = Head(n_items=3, plain=plain, n_words=2, last=-5, items=items, quarters=quarters)
    words = head.encode()
    assert len(words) == head.encoded_words == 2 + 3 * 2 + (0 if plain else 2)
    assert all(0 <= word < 1 << 64 for word in words)
    assert words[0] == 9 | 3 << 4 | plain << 9 | 2 << 10
    assert words[1] == (1 << 64) - 5
    assert Head.decode([7, *words, 8], 1) == head
    if not plain:
        want = [q.value & 0x7FF for q in quarters[4:]]
        assert [words[-1] >> 16 * k & 0xFFFF for k in range(4)] == want


@pytest.mark.parametrize(
    ("name", "value"), [("n_items", 32), ("n_items", -1), ("last", 1 << 63), ("plain", 2)]
)
def test_value_that_does_not_fit(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"field {name} = {value} does not fit"):
        Head(**{name: value}).encode()


def test_unknown_field() -> None:
    with pytest.raises(ValueError, match="unknown fields \\['nothing'\\]"):
        Item.layout().encode({"nothing": 1})


def test_truncated_and_foreign_words() -> None:
    words = Head(n_items=2, plain=1, items=(Item(1), Item(2))).encode()
    with pytest.raises(ValueError, match="truncated at word 2"):
        Head.decode(words[:-1])
    with pytest.raises(ValueError, match="kind is not that of a Head"):
        Head.decode([words[0] ^ 1, *words[1:]])


def test_word_of_more_than_64_bits() -> None:
    @dataclass(frozen=True)
    class TooLong(Record):
        first: int = bits(60)
        second: int = bits(5)

    with pytest.raises(ValueError, match="word 0 of TooLong has 65 bits"):
        layout_of(TooLong)
