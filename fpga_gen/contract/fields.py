"""Binary records as frozen dataclasses: the annotations of a class are its table of fields.

    @dataclass(frozen=True)
    class TapRecord(Record):
        address: int = address("offset from the block's address")
        dy: int = signed(12, "row of the tap")

A field follows the one before, LSB first; `word` begins the next 64-bit word. `layout_of(cls)` is
the table itself; encoding, decoding, widths, limits, text and documentation all come from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Self

WORD_BITS = 64


@dataclass(frozen=True)
class Field:
    """Bits [lsb, lsb + bits) of one word; signed fields are two's complement. address: a (row,
    bank) code of the feature-map memory."""

    name: str
    bits: int
    lsb: int
    word: int
    signed: bool = False
    address: bool = False
    doc: str = ""

    @property
    def values(self) -> range:
        """The integers that fit."""
        if self.signed:
            return range(-(1 << (self.bits - 1)), 1 << (self.bits - 1))
        return range(1 << self.bits)


@dataclass(frozen=True)
class Layout(Sequence[Field]):
    """The fields of a record, in order."""

    fields: tuple[Field, ...]

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, index):  # a field, or a tuple of them for a slice
        return self.fields[index]

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    @property
    def words(self) -> int:
        """64-bit words of the record."""
        return max(f.word for f in self.fields) + 1

    @property
    def bits(self) -> int:
        """Bits up to the end of the last field."""
        return max(f.word * WORD_BITS + f.lsb + f.bits for f in self.fields)

    def field(self, name: str) -> Field:
        """The field of that name; KeyError if there is none."""
        for entry in self.fields:
            if entry.name == name:
                return entry
        raise KeyError(f"no field {name!r}")

    def encode(self, values: Mapping[str, int]) -> list[int]:
        """Words of one record, absent fields 0; ValueError names a field that is unknown or does
        not fit."""
        unknown = set(values) - {f.name for f in self.fields}
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}")
        words = [0] * self.words
        for f in self.fields:
            value = int(values.get(f.name, 0))
            if value not in f.values:
                raise ValueError(f"field {f.name} = {value} does not fit {f.bits} bits")
            words[f.word] |= (value & ((1 << f.bits) - 1)) << f.lsb
        return words

    def decode(self, words: Sequence[int]) -> dict[str, int]:
        """Fields by name of the words of one record."""
        out = {}
        for f in self.fields:
            value = (words[f.word] >> f.lsb) & ((1 << f.bits) - 1)
            if f.signed and value >> (f.bits - 1):
                value -= 1 << f.bits
            out[f.name] = value
        return out


def bits(count: int, doc: str = "", *, word: bool = False) -> Any:
    """An unsigned field of `count` bits; word: it begins the next word. 0 unless given."""
    return field(default=0, metadata={"bits": count, "doc": doc, "word": word})


def signed(count: int, doc: str = "", *, word: bool = False) -> Any:
    """A two's complement field of `count` bits."""
    return field(default=0, metadata={"bits": count, "doc": doc, "word": word, "signed": True})


@cache
def layout_of(record: type) -> Layout:
    """The table of a dataclass whose fields are made by `bits` and `signed`; others are left out.

    Raises ValueError if a word has more than 64 bits.
    """
    made: list[Field] = []
    lsb = word = 0
    for entry in fields(record):
        info = entry.metadata
        if "bits" not in info:
            continue
        if info["word"] and made:
            word, lsb = word + 1, 0
        made.append(
            Field(
                entry.name,
                info["bits"],
                lsb,
                word,
                info.get("signed", False),
                info.get("address", False),
                info["doc"],
            )
        )
        lsb += info["bits"]
        if lsb > WORD_BITS:
            raise ValueError(f"word {word} of {record.__name__} has {lsb} bits")
    return Layout(tuple(made))


@dataclass(frozen=True)
class Record:
    """Base of all records."""

    @classmethod
    def layout(cls) -> Layout:
        return layout_of(cls)

    def encode(self) -> list[int]:
        """64-bit words; ValueError names a field that does not fit."""
        layout = self.layout()
        return layout.encode({f.name: getattr(self, f.name) for f in layout})

    @classmethod
    def decode(cls, words: Sequence[int]) -> Self:
        return cls(**cls.layout().decode(words))
