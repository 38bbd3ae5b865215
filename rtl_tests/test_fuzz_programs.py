"""Instruction streams that no compiler makes, on three engines; see tests/fuzz/programs.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fpga_gen_host.registers import ErrorCode
from tests.engines import SMALL
from tests.fuzz.campaign import run
from tests.fuzz.programs import Attempt
from tests.schedule.graphs import DOUBLE_CLOCK, THREE_MODES

pytestmark = pytest.mark.timeout(900)
COUNT = int(os.environ.get("FPGA_GEN_PROGRAMS", "60"))
ENGINES = {"two-modes": SMALL, "three-modes": THREE_MODES, "double-clock": DOUBLE_CLOCK}


@pytest.mark.parametrize("name", ENGINES)
def test_any_program_ends_and_harms_nothing(simulator, tmp_path: Path, name: str):
    """Some are refused, some starve, some run through; after every ten a good frame is exact."""
    params = ENGINES[name]
    with Attempt(params, simulator(params)) as attempt:
        tally = run(f"programs-{name}", COUNT, attempt, tmp_path)
        print(tally, f"{attempt.beats:,} AXI beats")
    assert not tally.failures
    assert {ErrorCode.BAD_INSTRUCTION.name, ErrorCode.NONE.name} <= set(tally.counts)
