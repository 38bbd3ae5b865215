"""Pairs of LUTs that share a site."""

from __future__ import annotations

import pytest

from fpga_gen.synth.packing import shared_sites
from tests.synth.test_levels import carry, lut


@pytest.mark.parametrize(
    ("inputs", "pairs"),
    [
        ([(1, 2, 9), (3, 4, 9)], 1),  # two multiplexers with one select
        ([(1, 2, 3), (4, 5, 6)], 0),
        ([(1, 2, 3), (4, 5)], 1),
        ([(1, 2, 3, 4, 5), (1, 2, 3)], 1),
        ([(1, 2, 3, 4, 5), (1, 2, 6)], 0),
        ([(1, 2, 3, 4, 5, 6), (1, 2)], 0),
        ([(1, 2), (3, 4), (5, 6), (7, 8)], 2),
    ],
)
def test_at_most_five_inputs_share_a_site(inputs, pairs):
    cells = [lut(f"l{n}", pins, 100 + n) for n, pins in enumerate(inputs)]
    assert shared_sites(cells) == pairs


def test_a_lut_in_front_of_a_carry_chain_keeps_its_site():
    cells = [lut("a", (1, 2), 100), lut("b", (1, 3), 101)]
    assert shared_sites(cells) == 1
    chain = carry("c", (100, 7, 7, 7), (8, 8, 8, 8), "0", (9,) * 4, (10,) * 4)
    assert shared_sites([*cells, chain]) == 0
