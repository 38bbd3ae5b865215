"""The pages in docs/ are what the tables and docstrings of the contract say."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpga_gen.contract import docs
from fpga_gen.contract.fields import tables_of
from fpga_gen.contract.isa import INSTRUCTIONS, PoolInstruction

FOLDER = Path(docs.__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", docs.pages())
def test_committed_page_equals_the_generator(name: str) -> None:
    assert (FOLDER / name).read_text() == docs.pages()[name], (
        "run: python -m fpga_gen.contract.docs docs"
    )


def test_every_field_stands_on_the_page_with_a_meaning() -> None:
    lines = docs.isa_page().splitlines()
    records = {k for k in INSTRUCTIONS.values() if k is not PoolInstruction}
    records |= {t.record for kind in records for t in tables_of(kind)}
    for record in records:
        for f in record.layout():
            assert f.doc, f"{record.__name__}.{f.name} has no meaning"
            assert any(f"| `{f.name}` |" in line and f.doc in line for line in lines)


def test_command(tmp_path: Path, capsys) -> None:
    assert docs.main([str(tmp_path)]) == 0
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == docs.pages()
    assert docs.main([]) == 2
    assert "usage" in capsys.readouterr().err
