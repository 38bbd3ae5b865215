"""Binary records as frozen dataclasses: the annotations of a class are its table of fields.

    @dataclass(frozen=True)
    class TapRecord(Record):
        address: int = address("from the block's address")
        dy: int = signed(12, "rows from the output pixel's input coordinate")

A field follows the one before, LSB first; `word=True` begins the next 64-bit word. A record may be
followed by tables of other records, see `table`. Encoding, decoding, widths, limits, the text form
and docs/isa.md all come from the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any, ClassVar, Self

WORD_BITS = 64


@dataclass(frozen=True)
class Field:
    """Bits [lsb, lsb + bits) of one word; signed fields are two's complement. address: a (row,
    bank) code, see contract/address.py."""

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
class Layout:
    """The fields of a record, in order."""

    fields: tuple[Field, ...]

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    @cached_property
    def words(self) -> int:
        """64-bit words of the record."""
        return max(f.word for f in self.fields) + 1

    @property
    def bits(self) -> int:
        """Bits up to the end of the last field."""
        return max(f.word * WORD_BITS + f.lsb + f.bits for f in self.fields)

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
        """Fields by name, of the words of one record."""
        out = {}
        for f in self.fields:
            value = (words[f.word] >> f.lsb) & ((1 << f.bits) - 1)
            if f.signed and value >> (f.bits - 1):
                value -= 1 << f.bits
            out[f.name] = value
        return out


@dataclass(frozen=True)
class Table:
    """Records behind a header. count: the header's field that tells how many there are (of records
    that share words: how many words); unless: a flag of the header without which they exist."""

    name: str
    record: type[Record]
    count: str
    unless: str = ""
    doc: str = ""


def bits(count: int, doc: str = "", *, word: bool = False, address: bool = False) -> Any:
    """An unsigned field of `count` bits, 0 unless given; word: it begins the next word."""
    known = {"bits": count, "doc": doc, "word": word, "address": address}
    return field(default=0, metadata=known)


def signed(count: int, doc: str = "", *, word: bool = False) -> Any:
    """A two's complement field of `count` bits."""
    return field(default=0, metadata={"bits": count, "doc": doc, "word": word, "signed": True})


def constant(count: int, doc: str = "", value: int = 0) -> Any:
    """An unsigned field whose value belongs to the class, such as an opcode."""
    return field(default=value, init=False, metadata={"bits": count, "doc": doc, "word": False})


def table(record: type[Record], count: str, doc: str = "", *, unless: str = "") -> Any:
    """A tuple of records that follow the header; see `Table`."""
    return field(default=(), metadata={"table": (record, count, unless, doc)})


@cache
def layout_of(record: type[Record]) -> Layout:
    """The table of a record's own fields; ValueError if a word has more than 64 bits."""
    made: list[Field] = []
    lsb = word = 0
    for entry in fields(record):
        info = entry.metadata
        if "bits" not in info:
            continue
        if info["word"]:
            word, lsb = word + 1, 0
        is_signed, is_address = info.get("signed", False), info.get("address", False)
        made.append(Field(entry.name, info["bits"], lsb, word, is_signed, is_address, info["doc"]))
        lsb += info["bits"]
        if lsb > WORD_BITS:
            raise ValueError(f"word {word} of {record.__name__} has {lsb} bits")
    return Layout(tuple(made))


@cache
def tables_of(record: type[Record]) -> tuple[Table, ...]:
    """The tables behind a record, in order."""
    found = ((f.name, f.metadata["table"]) for f in fields(record) if "table" in f.metadata)
    return tuple(Table(name, *description) for name, description in found)


@dataclass(frozen=True)
class Record:
    """Base of all records. PER_WORD: records of a table that share a 64-bit word."""

    PER_WORD: ClassVar[int] = 1

    @classmethod
    def layout(cls) -> Layout:
        return layout_of(cls)

    @property
    def encoded_words(self) -> int:
        """64-bit words of the record and its tables."""
        behind = sum(
            len(getattr(self, t.name)) * t.record.layout().words // t.record.PER_WORD
            for t in tables_of(type(self))
        )
        return self.layout().words + behind

    def encode(self) -> list[int]:
        """Words of the record and its tables; ValueError names a field that does not fit."""
        layout = self.layout()
        words = layout.encode({f.name: getattr(self, f.name) for f in layout})
        for entry in tables_of(type(self)):
            words += _join(getattr(self, entry.name), entry.record.PER_WORD)
        return words

    @classmethod
    def decode(cls, words: Sequence[int], at: int = 0) -> Self:
        """The record that begins at a word; ValueError if it and its tables do not end in time."""

        def take(count: int) -> Sequence[int]:
            nonlocal at
            if at + count > len(words):
                raise ValueError(f"program truncated at word {at}")
            at += count
            return words[at - count : at]

        values: dict[str, Any] = cls.layout().decode(take(cls.layout().words))
        for entry in (f for f in fields(cls) if not f.init):
            if values.pop(entry.name) != entry.default:
                raise ValueError(f"{entry.name} is not that of a {cls.__name__}")
        for entry in tables_of(cls):
            if not (entry.unless and values[entry.unless]):
                taken = take(values[entry.count] * entry.record.layout().words)
                values[entry.name] = tuple(_split(entry.record, taken))
        return cls(**values)


def describe(record: type[Record]) -> dict:
    """All that fixes the binary form of a record and its tables, JSON-able: fields, tables, and the
    words of an example. Texts do not count."""

    def numbered(kind: type[Record], start: int) -> dict[str, int]:
        free = {f.name for f in fields(kind) if f.init}
        named = enumerate(f for f in kind.layout() if f.name in free)
        return {f.name: (start + i) % (1 << (f.bits - f.signed)) for i, f in named}

    tables = {
        t.name: [t.record(**numbered(t.record, 16 * n)), t.record(**numbered(t.record, 16 * n + 8))]
        for n, t in enumerate(tables_of(record), 1)
    }
    example = record(**numbered(record, 1), **tables)
    return {
        "fields": [[f.name, f.word, f.lsb, f.bits, f.signed] for f in record.layout()],
        "tables": [[t.name, t.record.__name__, t.count, t.unless] for t in tables_of(record)],
        "per_word": record.PER_WORD,
        "example": [f"{word:016x}" for word in example.encode()],
    }


def _join(records: Sequence[Record], per_word: int) -> list[int]:
    """Words of the records of a table."""
    words = [word for record in records for word in record.encode()]
    if per_word == 1:
        return words
    step = WORD_BITS // per_word
    return [
        sum(word << step * k for k, word in enumerate(words[first : first + per_word]))
        for first in range(0, len(words), per_word)
    ]


def _split(record: type[Record], words: Sequence[int]) -> Iterator[Record]:
    """Inverse of `_join`."""
    size, step = record.layout().words, WORD_BITS // record.PER_WORD
    for first in range(0, len(words), size):
        for k in range(record.PER_WORD):
            yield record.decode(
                [w >> step * k & (1 << step) - 1 for w in words[first : first + size]]
            )
