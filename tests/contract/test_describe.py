"""What the design hash is made of: every field, table and code of a record counts, texts do not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fpga_gen.contract import isa
from fpga_gen.contract.fields import Record, bits, describe, signed, table


@dataclass(frozen=True)
class Item(Record):
    value: int = bits(9, "a value")


def record(**changes) -> type[Record]:
    """A record of two fields and a table with one of its properties changed."""
    given = {"name": "first", "bits": 12, "sign": bits, "word": False, "count": "first"}
    given |= {"doc": "as it is", "unless": ""} | changes
    names = {
        given["name"]: (int, given["sign"](given["bits"], given["doc"])),
        "second": (int, bits(5, word=given["word"])),
        "items": (tuple, table(Item, given["count"], unless=given["unless"])),
    }
    annotations = {name: kind for name, (kind, _) in names.items()}
    values = {name: value for name, (_, value) in names.items()}
    return dataclass(frozen=True)(
        type("Made", (Record,), {**values, "__annotations__": annotations, "__module__": __name__})
    )


@pytest.mark.parametrize(
    "change",
    [{"bits": 11}, {"sign": signed}, {"word": True}, {"count": "second"}, {"unless": "second"}],
    ids=lambda change: next(iter(change)),
)
def test_every_property_counts(change: dict) -> None:
    assert describe(record(**change)) != describe(record())


def test_texts_do_not_count() -> None:
    assert describe(record(doc="another text")) == describe(record())


def test_order_of_instructions_counts(monkeypatch) -> None:
    before = isa.describe()
    monkeypatch.setattr(isa.LoadInstruction, "ALONE", False)
    assert isa.describe() != before
