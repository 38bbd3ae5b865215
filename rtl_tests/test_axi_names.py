"""The pins of a top: literal names in the Verilog, directions, attributes."""

from __future__ import annotations

import re

import pytest
from amaranth import Module
from amaranth.back import verilog
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from fpga_gen.hardware.shell.axi_names import (
    annotate_pins,
    axi_members,
    clock_and_reset,
    connect_pins,
)


class Pins(wiring.Component):
    """Pins around a black box of the same pins, driven from a register."""

    def __init__(self, ports: int) -> None:
        self.ports = ports
        self.domain, self.reset = clock_and_reset(ports)
        super().__init__(axi_members(ports))
        annotate_pins(self, ports)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains += self.domain
        m.submodules.inner = inner = Inner(self.ports)
        connect_pins(m, self, inner, self.ports)
        return m


class Inner(wiring.Component):
    def __init__(self, ports: int) -> None:
        super().__init__(axi_members(ports))

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.sync += [self.interrupt.eq(self.s_axi_awvalid), self.m_axi_0_rready.eq(1)]
        return m


def convert(ports: int) -> str:
    """Verilog with clk and rst as ports."""
    top = Pins(ports)
    pins = {"clk": (top.domain.clk, PortDirection.Input)}
    pins["rst"] = (top.reset, PortDirection.Input)
    for name, member in axi_members(ports).items():
        direction = PortDirection.Input if member.flow is In else PortDirection.Output
        pins[name] = (getattr(top, name), direction)
    return verilog.convert(top, name="top", ports=pins)


@pytest.mark.parametrize("ports", [1, 4])
def test_verilog_pins(ports):
    text = convert(ports)
    names = set(re.search(r"module top\((.*?)\);", text, re.S)[1].replace("\n", "").split(", "))
    assert {"clk", "rst", "interrupt", "s_axi_awaddr", "s_axi_rready"} <= names
    assert all(f"m_axi_{k}_araddr" in names for k in range(ports))
    assert "m_axi_0_awaddr" in names
    assert "m_axi_1_awaddr" not in names
    assert not any("__" in name or "\\" in name for name in names)
    body = text[text.index("module top(") :]
    assert re.search(r"output \[39:0\] m_axi_0_araddr;", body)
    assert re.search(r"input \[127:0\] m_axi_0_rdata;", body)
    assert re.search(r"input \[11:0\] s_axi_awaddr;", body)


def test_vivado_attributes():
    text = convert(2)
    assert 'X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 m_axi_1 ARADDR"' in text
    assert 'X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 s_axi WDATA"' in text
    assert 'X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT"' in text
    assert "ASSOCIATED_BUSIF m_axi_0:m_axi_1:s_axi, ASSOCIATED_RESET rst" in text
    assert 'X_INTERFACE_PARAMETER = "POLARITY ACTIVE_HIGH"' in text
