"""Two exit pixels: what an engine must be for them, and that no write step meets a bank twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from tests.engines import PAIRS, SMALL


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"exit_pixels": 3, "pixels": 6}, "exit_pixels must be 1 or 2"),
        ({"pixels": 5}, "two exit pixels need an even number of pixel lanes"),
        ({"pixels": 2}, "no plane skew"),
    ],
)
def test_refused(changes: dict, rule: str) -> None:
    with pytest.raises(ScheduleError, match=rule):
        replace(PAIRS, **changes)


def test_files_without_the_field_mean_one() -> None:
    data = SMALL.to_dict()
    assert data.pop("exit_pixels") == 1
    assert EngineParams.from_dict(data) == SMALL


@settings(derandomize=True, max_examples=300)
@given(
    pixels=st.sampled_from([2, 4, 6, 8, 12, 16]),
    in_channels=st.sampled_from([4, 8, 16]),
    modes=st.sampled_from([(1,), (1, 2), (1, 3), (1, 2, 3)]),
    pairs=st.integers(1, 4),
    ports=st.sampled_from([1, 2, 4]),
    base=st.integers(0, 500),
    plane=st.integers(1, 200),
)
def test_banks_of_a_step(
    pixels: int,
    in_channels: int,
    modes: tuple[int, ...],
    pairs: int,
    ports: int,
    base: int,
    plane: int,
) -> None:
    """Every word of a step has a bank of its own; those of a pixel lie in banks of one parity,
    those of its neighbour in the others, and a LOAD's in those that its slots say."""
    try:
        p = EngineParams(
            pixels=pixels, in_channels=in_channels, dsp_columns=12 * pairs, sp2_columns=0,
            modes=modes, ports=ports, exit_pixels=2,
        )  # fmt: skip
    except ScheduleError:
        assume(False)
        raise
    stride = p.plane_words(plane)
    for mode in p.modes:
        assert p.row_slots >= mode * p.write_words(mode)
        for first in range(0, p.pixels, 2):
            rows = [
                [base + first + pixel + g * p.pixels + k * stride
                 for g in range(mode) for k in range(p.write_words(mode))]
                for pixel in range(2)
            ]  # fmt: skip
            assert p.distinct_banks([*rows[0], *rows[1]])
            for pixel, row in enumerate(rows):
                assert {word % p.banks % 2 for word in row} == {(base + pixel) % 2}
    stride = p.load_stride(p.load_part(plane))
    assert p.load_fits(stride)
    assert p.ports == 1 or not p.load_fits(stride + 1)  # another parity
    offsets = p.load_offsets(stride)
    slots = [p.load_slot(word) for word in range(p.load_words)]
    assert len(set(slots)) == len(slots)
    for slot, offset in zip(slots, offsets, strict=True):
        assert slot % p.row_slots < p.load_words
        assert offset % p.banks % 2 == slot // p.row_slots
