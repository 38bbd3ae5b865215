"""Feature-map banks in block RAM: what Yosys maps them to is what the estimate counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fpga_gen.hardware.feature_memory import bank_shape
from fpga_gen.hardware.params import SMALL
from fpga_gen.resources import estimate_resources
from rtl_tests.yosys_cost import cells


@pytest.mark.parametrize(
    ("family", "cell", "channels", "rows"),
    [("xc7", "RAMB36E1", 8, 1024), ("xcup", "RAMB36E2", 16, 2048)],
)
def test_block_banks(family: str, cell: str, channels: int, rows: int, tmp_path: Path):
    params = replace(SMALL, in_channels=channels, bank_rows=rows, bank_style="block")
    found = cells(bank_shape(params).verilog("bank"), "bank", family, tmp_path)
    blocks = found.get(cell, 0)
    without = replace(params, bank_style="ultra")
    extra = estimate_resources(params).bram36 - estimate_resources(without).bram36
    assert params.banks * blocks == extra
    assert estimate_resources(params).uram == 0
    assert not any(name.startswith("RAM") and name != cell for name in found)
