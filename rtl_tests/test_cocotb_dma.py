"""The AXI boundary under Verilator: cocotb testbenches with cocotbext-axi."""

from __future__ import annotations

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.shell.csr import CsrBlock
from fpga_gen.hardware.shell.read_dma import ReadPort
from fpga_gen.hardware.shell.shell import Shell
from fpga_gen.hardware.shell.stream_dma import StreamDma
from fpga_gen.hardware.shell.write_dma import WritePort
from rtl_tests.verilator import run_cocotb

# The first test of a design compiles it, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)


class Bench(wiring.Component):
    """Independent blocks side by side, so that one compilation serves all their testbenches."""

    def __init__(self, **blocks: wiring.Component) -> None:
        self.blocks = blocks
        super().__init__({name: Out(block.signature) for name, block in blocks.items()})

    def elaborate(self, platform) -> Module:
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
            wiring.connect(m, wiring.flipped(getattr(self, name)), block)
        return m


@pytest.mark.parametrize(
    ("block", "tests"), [("read_dma", 4), ("write_dma", 4), ("stream_dma", 3), ("csr", 2)]
)
def test_block(tmp_path, block, tests):
    bench = Bench(
        read=ReadPort(depth=128),
        write=WritePort(depth=128),
        stream=StreamDma(ports=2, depth=128),
        csr=CsrBlock(),
    )
    assert run_cocotb(bench, f"rtl_tests.cocotb_{block}", tmp_path) == tests


def test_shell(tmp_path):
    shell = Shell(EngineParams(ports=2))
    assert run_cocotb(shell, "rtl_tests.cocotb_shell", tmp_path) == 15
