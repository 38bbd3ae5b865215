"""Axis tables of VECTOR instructions: bands far down a large map, rows told in parts."""

import pytest

from fpga_gen.contract.address import ROW_BITS, unpack_address
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.lower.axis_entries import axis_tables

PARAMS = EngineParams()


def test_a_band_counts_from_its_own_first_row() -> None:
    """Rows of a map whose first word no address of an entry reaches from the last one."""
    width, rows = 480, 1000
    assert width * rows > PARAMS.banks << (ROW_BITS - 1)
    y = [[(i // 2 * width, 1), (i // 2 * width + width, 1)] for i in range(2 * rows)]
    x = [[(i // 2, 1)] for i in range(2 * width)]
    (tables,) = axis_tables("far", y, x, (1900, 1910), PARAMS)
    assert (tables.first, tables.origin) == (1900, 950 * width)
    found = [unpack_address(entry.address, PARAMS.banks) for entry in tables.y]
    parts = tables.rows // 10
    step = width // parts
    assert found[: 2 * parts] == [k * step + tap * width for k in range(parts) for tap in (0, 1)]


def test_windows_cover_all_rows() -> None:
    y, x = [[(i, 1)] for i in range(3000)], [[(0, 1)]]
    tables = list(axis_tables("tall", y, x, (5, 2900), PARAMS))
    assert [t.first for t in tables] == [5, 1029, 2053]
    assert sum(t.rows for t in tables) == 2895


def test_rows_of_no_pattern_are_refused() -> None:
    x = [[(i * i % 97, 1)] for i in range(1100)]
    with pytest.raises(ScheduleError, match="'odd': 1 x 1 interpolation taps for a width of 1100"):
        next(axis_tables("odd", [[(0, 1)]], x, (0, 1), PARAMS))
