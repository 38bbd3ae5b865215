"""Simulators compiled once per test session."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpga_gen.simulate.build import build_simulator
from tests.simulate.designs import COPY_ENGINE, readers, register_file


@pytest.fixture(scope="session")
def build_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty cache of this session."""
    return tmp_path_factory.mktemp("simulators")


@pytest.fixture(scope="session")
def copy_sources(build_cache: Path) -> list[Path]:
    return [register_file(build_cache), COPY_ENGINE]


@pytest.fixture(scope="session")
def copy_library(build_cache: Path, copy_sources: list[Path]) -> Path:
    return build_simulator(copy_sources, cache=build_cache, optimise=0)


@pytest.fixture(scope="session")
def reader_library(build_cache: Path, copy_sources: list[Path]) -> Path:
    """Four read ports; the copy engine's own top module is cut off."""
    leaf = build_cache / "reader.v"
    leaf.write_text(COPY_ENGINE.read_text().split("// A memory whose contents")[0])
    sources = [copy_sources[0], leaf, readers(build_cache, 4)]
    return build_simulator(sources, cache=build_cache, optimise=0)
