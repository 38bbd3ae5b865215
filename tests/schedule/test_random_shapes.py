"""Every operator with random shapes: the program equals the integer reference bit for bit."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES
from tests.schedule.shapes import OPERATORS
from tests.schedule.test_program import check

ENGINES = {"two-modes": SMALL, "three-modes": THREE_MODES}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("engine", ENGINES)
@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_operator(engine: str, operator: str, data: st.DataObject) -> None:
    params = ENGINES[engine]
    check(data.draw(OPERATORS[operator](params)), params)
