"""Feature-map banks in block RAM: what Yosys maps them to is what the estimate counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fpga_gen.hardware.memory.feature_memory import bank_shape
from fpga_gen.resources import memory_blocks
from fpga_gen.simulate.device import SimulatedDevice
from rtl_tests.networks import accelerator, compile_network, run_network
from rtl_tests.yosys_cost import cells
from tests.engines import SMALL
from tests.schedule.graphs import example


@pytest.mark.parametrize(
    ("family", "cell", "channels", "rows"),
    [("xc7", "RAMB36E1", 8, 4096), ("xcup", "RAMB36E2", 16, 2048)],
)
def test_block_banks(family: str, cell: str, channels: int, rows: int, tmp_path: Path):
    params = replace(SMALL, in_channels=channels, bank_rows=rows, family=family)
    params = replace(params, bram_banks=params.banks)
    found = cells(bank_shape(params).verilog("bank"), "bank", family, tmp_path)
    assert not any(name.startswith("RAM") and name != cell for name in found)
    uram, bram = memory_blocks(params)
    deeper = memory_blocks(replace(params, bank_rows=2 * rows))[1]
    assert uram == 0
    assert deeper - bram == params.banks * found[cell]


@pytest.mark.timeout(900)  # compiles a simulator
def test_both_kinds_of_banks(tmp_path: Path):
    """Maps that lie partly in URAM, in two parts of a word, and partly in block RAM are traced and
    right."""
    params = replace(SMALL, in_channels=16, bram_banks=1)
    network = compile_network(example("block", params), params)
    with SimulatedDevice(accelerator(params, tmp_path), params) as device:
        assert sorted(len(parts) for parts in device.banks().values()) == [1, 2, 2, 2]
        assert run_network(device, network).cycles > 0
