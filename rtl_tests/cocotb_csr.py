"""CsrBlock driven by the AXI4-Lite master of cocotbext-axi."""

from __future__ import annotations

import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from fpga_gen_host.registers import REGISTERS, register
from rtl_tests.cocotb_common import LIMIT_US, Scope, lite_channels, pause_all, start


async def set_up(top, rng, pause: float = 0.3):
    dut = Scope(top, "csr")
    master = AxiLiteMaster(AxiLiteBus.from_prefix(top, "csr__s_axi"), dut.clk, dut.rst)
    await start(dut)
    pause_all(lite_channels(master), rng, pause)
    return dut, master


def writable_mask(entry) -> int:
    return sum(f.mask for f in entry.fields if f.access == "rw")


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def random_accesses(top):
    rng = random.Random(cocotb.RANDOM_SEED)
    dut, master = await set_up(top, rng)
    model = {r.offset: 0 for r in REGISTERS if "rw" in r.access}
    for entry in REGISTERS:
        for field in entry.fields:
            if field.access in ("ro", "w1c"):
                value = rng.getrandbits(field.bits)
                getattr(dut, entry.port(field)).value = value
                model[entry.offset] = model.get(entry.offset, 0) | value << field.lsb
    entries = {r.offset: r for r in REGISTERS}
    for _ in range(150):
        offset = 4 * rng.randrange(64)  # the used part and unmapped addresses beyond
        if rng.random() < 0.5:
            first = rng.randrange(4)
            data = rng.randbytes(rng.randint(1, 4 - first))
            answer = await master.write(offset + first, data)
            if offset in entries:
                mask = writable_mask(entries[offset])
                mask &= ((1 << 8 * len(data)) - 1) << 8 * first
                value = int.from_bytes(data, "little") << 8 * first
                model[offset] = (model[offset] & ~mask) | (value & mask)
            assert answer.resp == AxiResp.OKAY
        else:
            answer = await master.read(offset, 4)
            assert answer.resp == AxiResp.OKAY
            got = int.from_bytes(answer.data, "little")
            assert got == model.get(offset, 0), f"{offset:#x}: {got:#x}"
    answer = await master.read(0xFFC, 4)
    assert answer.data == bytes(4)


@cocotb.test(timeout_time=LIMIT_US, timeout_unit="us")
async def strobes_last_one_cycle(top):
    rng = random.Random(cocotb.RANDOM_SEED + 1)
    dut, master = await set_up(top, rng)
    seen = dict.fromkeys(
        ("control_start", "control_soft_reset", "status_done_clear", "status_error_clear"), 0
    )

    async def count():
        while True:
            await RisingEdge(dut.clk)
            for name in seen:
                seen[name] += int(getattr(dut, name).value)

    cocotb.start_soon(count())
    control, status = register("CONTROL").offset, register("STATUS").offset
    await master.write_dword(control, 0b001)
    await master.write_dword(control, 0b110)
    await master.write_dword(status, 0b010)
    await master.write_dword(status, 0b110)
    await master.write_dword(status, 0)
    assert seen == {
        "control_start": 1,
        "control_soft_reset": 1,
        "status_done_clear": 2,
        "status_error_clear": 1,
    }
    assert await master.read_dword(control) == 0b100
