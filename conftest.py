"""Nothing is skipped because the machine lacks something: the run does not begin. No test knows
what another one found out."""

from __future__ import annotations

import gc
from uuid import uuid4

import pytest

from fpga_gen import cache
from tools.prerequisites import TEST, missing


def pytest_sessionstart(session: pytest.Session) -> None:
    gc.freeze()
    gc.set_threshold(50_000)  # graphs and designs are many objects and few cycles
    if hasattr(session.config, "workerinput"):  # a worker of pytest-xdist: checked before
        return
    line = missing(TEST)
    if line:
        pytest.exit(line, returncode=1)


@pytest.fixture(autouse=True)
def own_facts(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that replaces a part of the program leaves nothing in the user's cache, and finds
    nothing there."""
    folder = tmp_path_factory.getbasetemp() / "facts" / uuid4().hex
    monkeypatch.setattr(cache, "facts_directory", lambda: folder)
