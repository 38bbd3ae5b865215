"""AXI signal names, widths and directions: the only file that spells the pins of the top.

The top has flat members with the literal names AMD tools expect: m_axi_<k>_* (AXI4 masters of
128 bits; only master 0 writes), s_axi_* (AXI4-Lite slave) and interrupt.
"""

from __future__ import annotations

from amaranth import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import PORT_BITS
from fpga_gen_host.registers import ADDRESS_BITS, BUS_BITS

BEAT_BYTES = PORT_BITS // 8
BEAT_SHIFT = 4  # log2 of BEAT_BYTES
BEAT_ADDRESS_BITS = BUS_BITS - BEAT_SHIFT

READ = {
    "arid": Out(1),
    "araddr": Out(BUS_BITS),
    "arlen": Out(8),
    "arsize": Out(3),
    "arburst": Out(2),
    "arcache": Out(4),
    "arprot": Out(3),
    "arvalid": Out(1),
    "arready": In(1),
    "rid": In(1),
    "rdata": In(PORT_BITS),
    "rresp": In(2),
    "rlast": In(1),
    "rvalid": In(1),
    "rready": Out(1),
}
WRITE = {
    "awid": Out(1),
    "awaddr": Out(BUS_BITS),
    "awlen": Out(8),
    "awsize": Out(3),
    "awburst": Out(2),
    "awcache": Out(4),
    "awprot": Out(3),
    "awvalid": Out(1),
    "awready": In(1),
    "wdata": Out(PORT_BITS),
    "wstrb": Out(BEAT_BYTES),
    "wlast": Out(1),
    "wvalid": Out(1),
    "wready": In(1),
    "bid": In(1),
    "bresp": In(2),
    "bvalid": In(1),
    "bready": Out(1),
}
LITE = {
    "awaddr": In(ADDRESS_BITS),
    "awprot": In(3),
    "awvalid": In(1),
    "awready": Out(1),
    "wdata": In(32),
    "wstrb": In(4),
    "wvalid": In(1),
    "wready": Out(1),
    "bresp": Out(2),
    "bvalid": Out(1),
    "bready": In(1),
    "araddr": In(ADDRESS_BITS),
    "arprot": In(3),
    "arvalid": In(1),
    "arready": Out(1),
    "rdata": Out(32),
    "rresp": Out(2),
    "rvalid": Out(1),
    "rready": In(1),
}
# Constant sideband: 16-byte beats, INCR bursts, normal non-cacheable bufferable memory.
SIDEBAND = {"size": BEAT_SHIFT, "burst": 1, "cache": 0b0011, "prot": 0, "id": 0}


def prefixed(prefix: str, members: dict[str, wiring.Member]) -> dict[str, wiring.Member]:
    return {f"{prefix}_{name}": member for name, member in members.items()}


def axi_members(ports: int) -> dict[str, wiring.Member]:
    """Members of a top with `ports` AXI4 masters, the AXI4-Lite slave and the interrupt."""
    members: dict[str, wiring.Member] = {}
    for k in range(ports):
        members |= prefixed(f"m_axi_{k}", READ)
        if k == 0:
            members |= prefixed("m_axi_0", WRITE)
    return {**members, **prefixed("s_axi", LITE), "interrupt": Out(1)}


def connect_pins(m: Module, outer: wiring.Component, inner: wiring.Component, ports: int) -> None:
    """Connect every AXI pin of `outer` with the member of the same name of the submodule."""
    for name, member in axi_members(ports).items():
        source, sink = (inner, outer) if member.flow is Out else (outer, inner)
        m.d.comb += getattr(sink, name).eq(getattr(source, name))


def annotate_pins(top: wiring.Component, ports: int) -> None:
    """Give the pins the X_INTERFACE_INFO attributes from which Vivado infers the interfaces."""
    for name in axi_members(ports):
        pin: Signal = getattr(top, name)
        if name == "interrupt":
            pin.attrs["X_INTERFACE_INFO"] = "xilinx.com:signal:interrupt:1.0 interrupt INTERRUPT"
            pin.attrs["X_INTERFACE_PARAMETER"] = "SENSITIVITY LEVEL_HIGH"
        else:
            bus, _, channel = name.rpartition("_")
            pin.attrs["X_INTERFACE_INFO"] = (
                f"xilinx.com:interface:aximm:1.0 {bus} {channel.upper()}"
            )


def fast_clock() -> Signal:
    """The pin clk_2x: twice the frequency of clk, every second edge with it."""
    clock = Signal(name="clk_2x")
    clock.attrs["X_INTERFACE_INFO"] = "xilinx.com:signal:clock:1.0 clk_2x CLK"
    return clock


def clock_and_reset(ports: int) -> tuple[ClockDomain, Signal]:
    """Domain `sync`, whose clock is the pin clk, and the pin rst (active high, synchronous), both
    annotated for Vivado. The domain has no reset: see resets.py."""
    clock = Signal(name="clk")
    reset = Signal(name="rst")
    buses = ":".join([f"m_axi_{k}" for k in range(ports)] + ["s_axi"])
    clock.attrs["X_INTERFACE_INFO"] = "xilinx.com:signal:clock:1.0 clk CLK"
    clock.attrs["X_INTERFACE_PARAMETER"] = f"ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET rst"
    reset.attrs["X_INTERFACE_INFO"] = "xilinx.com:signal:reset:1.0 rst RST"
    reset.attrs["X_INTERFACE_PARAMETER"] = "POLARITY ACTIVE_HIGH"
    domain = ClockDomain("sync", reset_less=True)
    domain.clk = clock
    return domain, reset
