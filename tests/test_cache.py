"""Facts are found once for a key and a program, and a damaged cache costs only time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpga_gen import cache
from fpga_gen.cache import remembered


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "facts_directory", lambda: tmp_path / "cache")
    return tmp_path / "cache"


class Fact:
    """Counts how often it is found."""

    found = 0

    def __call__(self, key: object = "a") -> int:
        return remembered("facts", key, self._find, lambda value: [value], lambda data: data[0])

    def _find(self) -> int:
        self.found += 1
        return 42


def test_a_fact_is_found_once():
    fact = Fact()
    assert [fact(), fact(), fact(["b", None, 1.5])] == [42, 42, 42]
    assert fact.found == 2


def test_another_program_finds_it_again(monkeypatch: pytest.MonkeyPatch):
    fact = Fact()
    fact()
    monkeypatch.setattr(cache, "program_digest", lambda: "another")
    fact()
    assert fact.found == 2


@pytest.mark.parametrize("damage", [b"", b"[", b"{}", b"[]", b"\xff\xfe"])
def test_a_damaged_entry_is_made_again(own_cache: Path, damage: bytes):
    fact = Fact()
    fact()
    (entry,) = (own_cache / "facts").iterdir()
    entry.write_bytes(damage)
    assert fact() == 42
    assert fact.found == 2
    assert fact() == 42
    assert fact.found == 2


def test_an_error_is_not_kept():
    def fails() -> int:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            remembered("facts", "a", fails, lambda v: v, lambda v: v)


def test_a_cache_that_cannot_be_written(own_cache: Path):
    own_cache.write_text("a file")
    assert Fact()() == 42


def test_the_digest_covers_sources_and_costs():
    assert cache.program_digest() == cache.program_digest.__wrapped__()
    assert (cache.PACKAGE / "costs.json").is_file()


def test_the_digest_covers_compiler_and_runtime(monkeypatch, tmp_path: Path):
    """Registers and regions are the runtime's: Verilog of other ones must not be found again."""
    assert {root.name for root in cache.SOURCES} == {"fpga_gen", "fpga_gen_host"}
    for root in ("fpga_gen", "fpga_gen_host"):
        (tmp_path / root).mkdir()
        (tmp_path / root / "a.py").write_text("old")
    monkeypatch.setattr(cache, "SOURCES", tuple(tmp_path.iterdir()))
    before = cache.program_digest.__wrapped__()
    for root in cache.SOURCES:
        (root / "a.py").write_text("new")
        assert cache.program_digest.__wrapped__() != before
        (root / "a.py").write_text("old")
        assert cache.program_digest.__wrapped__() == before
