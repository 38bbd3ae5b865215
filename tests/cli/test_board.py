"""`fpga-gen board` where pynq is missing; the rest is in tests/board."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def test_without_pynq(built: Path, cli, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pynq.remote.mmio_pb2_grpc", None)
    result = cli("board", built)
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "pip install 'fpga-gen[board]'" in result.err
    assert not list(built.glob("*.bit"))
