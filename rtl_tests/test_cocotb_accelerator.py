"""The whole accelerator between AXI slaves and an AXI4-Lite master: see cocotb_accelerator.py."""

from __future__ import annotations

import pytest

from fpga_gen.generated import engine_verilog
from fpga_gen.hardware.common.design_hash import stamp
from fpga_gen.hardware.top import TOP
from rtl_tests.verilator import run_cocotb_on
from tests.engines import SMALL

# The first run compiles the design with every signal public, which takes minutes.
pytestmark = pytest.mark.timeout(900)


def test_accelerator(tmp_path):
    files = stamp(engine_verilog(SMALL), 0x0123_4567_5EED_F00D)
    assert run_cocotb_on(files, TOP, "rtl_tests.cocotb_accelerator", tmp_path) == 14
