"""Accelerators compiled at most once per test session."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from fpga_gen.contract.params import EngineParams
from rtl_tests.networks import accelerator


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Callable[[EngineParams], Path]:
    """Engine parameters -> compiled simulator of their accelerator."""

    @cache
    def compiled(params: EngineParams) -> Path:
        return accelerator(params, tmp_path_factory.mktemp("verilog"))

    return compiled
