"""Engines whose fields the instructions and joints cannot hold are refused, not cut."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from fpga_gen.contract.isa import limit
from fpga_gen.contract.params import CHANNEL_BITS, MAX_COLUMNS, EngineParams
from fpga_gen.errors import ScheduleError
from tests.engines import SMALL

ROWS = {"bank_rows": 64, "ports": 1, "weight_words": 64}


def test_columns_fit_the_number_of_channels_of_a_group() -> None:
    most = EngineParams(
        pixels=16, in_channels=16, dsp_columns=0, sp2_columns=MAX_COLUMNS, modes=(1,), **ROWS
    )
    assert most.group_channels(1) == (1 << CHANNEL_BITS) - 1
    with pytest.raises(ScheduleError, match="MAC columns"):
        replace(most, sp2_columns=MAX_COLUMNS + 1)


def test_modes_fit_their_field() -> None:
    top = limit("mode") + 1
    with pytest.raises(ScheduleError, match=f"modes must be at most {top}"):
        replace(SMALL, dsp_columns=0, sp2_columns=60, modes=(1, top + 1))


def test_every_lane_has_a_bank() -> None:
    with pytest.raises(ScheduleError, match="pixels times the largest mode must be at most 64"):
        replace(SMALL, pixels=33, modes=(1, 2))


def test_an_engine_can_be_passed_between_processes() -> None:
    params = EngineParams()
    assert params.sub_kinds
    again = pickle.loads(pickle.dumps(params))
    assert again == params
    assert again.sub_kinds == params.sub_kinds
