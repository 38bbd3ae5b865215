"""The whole shell: every AXI pin at once, from reset, with the blocks connected as they are."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from unittest.mock import patch

from amaranth.hdl import Mux, Signal

from formal.axi import address_channel
from formal.bench import Bench
from formal.bursts import inside
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.shell import csr, shell, stream_dma, write_dma
from fpga_gen_host.registers import REGISTERS

DEPTH = 16
SMALL_BURST = 8
PORTS = 2
# What software would have written: the run is reached in fewer cycles.
SET = {
    "PROGRAM_WORDS": 3,
    "READ_WINDOW0_LIMIT_LO": 0x40,  # in beats, as all addresses here
    "READ_WINDOW1_LIMIT_LO": 0x20,
    "WRITE_WINDOW_BASE_LO": 0x80,
    "WRITE_WINDOW_LIMIT_LO": 0xC0,
    "OUTPUT_LO": 0x80,
}


def _preset() -> tuple:
    """The register table with these values after a reset."""
    names = {r.name for r in REGISTERS}
    assert set(SET) <= names, set(SET) - names
    return tuple(
        replace(r, fields=tuple(replace(f, reset=SET[r.name]) for f in r.fields))
        if r.name in SET else r
        for r in REGISTERS
    )  # fmt: skip


class Window:
    """A window of fixed edges, in beats."""

    def __init__(self, base: int, limit: int) -> None:
        self.base, self.limit = base, limit


class Slave:
    """What a memory owes at one port, if it keeps the rules."""

    def __init__(self, b: Bench, k: int, dut) -> None:
        def pin(name: str):
            return getattr(dut, f"m_axi_{k}_{name}")

        self.owed = Signal(8, name=f"owed_{k}")
        beat = pin("rvalid") & pin("rready")
        asked = pin("arvalid") & pin("arready")
        b.assume(~pin("rvalid") | (self.owed != 0))
        b.m.d.sync += self.owed.eq(self.owed + Mux(asked, pin("arlen") + 1, 0) - beat)


class Pins:
    """The pins of one port by their AXI names."""

    def __init__(self, dut, prefix: str) -> None:
        self.dut, self.prefix = dut, prefix

    def __getattr__(self, name: str):
        return getattr(self.dut, self.prefix + name)


def pins() -> Bench:
    with ExitStack() as stack:
        stack.enter_context(patch.object(csr, "REGISTERS", _preset()))
        for name, block in (
            ("StreamDma", partial(stream_dma.StreamDma, depth=DEPTH)),
            ("WritePort", partial(write_dma.WritePort, depth=DEPTH)),
        ):
            stack.enter_context(patch.object(shell, name, block))
        dut = shell.Shell(EngineParams(ports=PORTS))
        b = Bench(dut)
    m = b.m
    b.assume(~dut.reset)
    lite = Pins(dut, "s_axi_")
    # Software writes CONTROL and STATUS alone; the engine keeps the rules of streams.
    b.assume(~lite.awvalid | (lite.awaddr[2:] == 0x10 // 4) | (lite.awaddr[2:] == 0x14 // 4))
    for valid, ready, payload in (
        (dut.fetch.valid, dut.fetch.ready, dut.fetch.payload.as_value()),
        (dut.store.valid, dut.store.ready, dut.store.payload.as_value()),
    ):
        waits = b.past(valid & ~ready & ~dut.soft_reset, "waits")
        b.assume(~waits | (valid & (payload == b.past(payload, "payload"))))
    # It works between a start and the reset behind it.
    working = Signal()
    m.d.sync += working.eq((working | dut.start) & ~dut.soft_reset)
    b.assume(working | ~(dut.fetch.valid | dut.store.valid | dut.status.done))
    readable = [Window(0, SET["READ_WINDOW0_LIMIT_LO"]), Window(0, SET["READ_WINDOW1_LIMIT_LO"])]
    writable = Window(SET["WRITE_WINDOW_BASE_LO"], SET["WRITE_WINDOW_LIMIT_LO"])
    slaves = []
    for k in range(PORTS):
        port = Pins(dut, f"m_axi_{k}_")
        address_channel(b, port, "ar", SMALL_BURST)
        b.prove(~port.arvalid | inside(readable, port.araddr[4:], port.arlen + 1),
                f"port {k} reads outside the windows")  # fmt: skip
        b.prove(port.rready, "beats must be taken at once")
        slaves.append(Slave(b, k, dut))
    port = Pins(dut, "m_axi_0_")
    address_channel(b, port, "aw", SMALL_BURST)
    b.stable(port.wvalid, port.wready, port.wlast, what="W")
    b.prove(~port.awvalid | inside([writable], port.awaddr[4:], port.awlen + 1),
            "a write outside the window")  # fmt: skip
    b.prove(port.bready, "responses must be taken at once")
    b.stable(lite.bvalid, lite.bready, what="lite_B")
    b.stable(lite.rvalid, lite.rready, lite.rdata, what="lite_R")
    # No run begins while a burst of the last one is open.
    nothing_owed = 1
    for k, slave in enumerate(slaves):
        nothing_owed &= (slave.owed == 0) & ~getattr(dut, f"m_axi_{k}_arvalid")
    b.prove(~dut.start | nothing_owed, "a run begins with a burst open")
    b.cover(port.arvalid & Pins(dut, "m_axi_1_").arvalid, "both ports read")
    b.cover(port.awvalid, "a write")
    b.cover(port.wvalid & port.wlast & port.wready, "its data")
    b.cover(dut.interrupt, "an interrupt")
    return b


PROOFS = (
    Proof(
        "shell",
        "Shell with two ports: all AXI pins",
        "handshakes of all channels of every master and of the slave, 4 KiB, lengths; reads inside "
        "the windows for reading, writes inside the one for writing; no run begins while a burst "
        "of the last one is open",
        pins,
        depth=25,
        cover_depth=32,
        bounded=True,
        quick=False,
        parameters={
            "shell.read_dma.MAX_BURSTS": 4,
            "shell.read_dma.MAX_BURST": SMALL_BURST,
            "shell.write_dma.MAX_BURST": SMALL_BURST,
            "shell.axi_burst.MAX_BURST": SMALL_BURST,
            "shell.write_dma.WRITE_ROOM": 4,
            "shell.write_dma.MAX_RESPONSES": 4,
            "shell.stream_dma.QUEUE_DEPTH": 2,
            "shell.stream_dma.LANE_QUEUE_DEPTH": 2,
            "shell.counters.LAYER_LOG_DEPTH": 4,
        },
        mutations=(
            Mutation("shell.shell", "read.windows[k][edge].eq", "write.windows[0][edge].eq"),
            Mutation("shell.shell", "control.drained.eq(read.idle & write.drained)",
                     "control.drained.eq(1)"),
        ),
    ),
)  # fmt: skip
