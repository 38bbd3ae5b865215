"""The generated .hwh and .bit, read by pynq's own parsers."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from pynq.pl_server.embedded_device import bit2bin, parse_bit_header
from pynq.pl_server.hwh_parser import _HWHUltrascale
from pynqmetadata.frontends import Metadata
from pynqmetadata.views.runtime import RuntimeMetadataParser

from fpga_gen.boards import load_board
from fpga_gen.deploy import processor as ps
from fpga_gen.deploy.bitfile import NOTE, carried_hash, stand_in_bitstream
from fpga_gen.deploy.handoff import hardware_handoff
from fpga_gen.errors import BoardError
from fpga_gen.hardware.top import Top
from fpga_gen_host.registers import REGISTERS
from tests.engines import SMALL
from tests.schedule.builder import DOUBLE_CLOCK

BOARD = load_board("zcu104")
ENGINES = {"1_port": SMALL, "4_ports": BOARD.array, "two_clocks": DOUBLE_CLOCK}


@pytest.fixture(params=ENGINES)
def params(request: pytest.FixtureRequest):
    return ENGINES[request.param]


def test_pynq_4_reads_it(params, tmp_path):
    path = tmp_path / "design.hwh"
    path.write_text(hardware_handoff(params, BOARD, 300.0))
    found = RuntimeMetadataParser(Metadata(input=path))
    ip = found.ip_dict["accelerator"]
    assert ip["type"] == "fpga-gen:user:fpga_gen_top:1.0"
    assert (ip["phys_addr"], ip["addr_range"]) == (0xA0000000, 0x1000)
    assert found.ps_name == "processor"
    assert found.interrupt_pins["accelerator/interrupt"]["controller"] == "interrupts"
    assert found.ip_dict["interrupts"]["phys_addr"] == 0xA0010000
    widths = found.ip_dict[found.ps_name]["parameters"]
    order = BOARD.vivado.hp_order
    found_widths = [widths.get(f"C_SAXIGP{2 + hp}_DATA_WIDTH") for hp in order]
    assert found_widths == ["128"] * params.ports + [None] * (4 - params.ports)
    assert found.clock_dict[0]["enable"] == 1
    assert found.clock_dict[0]["frequency"] == pytest.approx(300, rel=1e-4)
    assert not any(found.clock_dict[k]["enable"] for k in (1, 2, 3))


def test_registers_are_those_of_the_table(params, tmp_path):
    path = tmp_path / "design.hwh"
    path.write_text(hardware_handoff(params, BOARD, 300.0))
    registers = RuntimeMetadataParser(Metadata(input=path)).ip_dict["accelerator"]["registers"]
    assert {n: r["address_offset"] for n, r in registers.items()} == {
        r.name: r.offset for r in REGISTERS
    }
    for entry in REGISTERS:
        fields = registers[entry.name]["fields"].values()
        placed = {(f["bit_offset"], f["bit_width"]) for f in fields}
        assert placed == {(f.lsb, f.bits) for f in entry.fields}


def test_pynq_3_reads_it(params):
    """PYNQ 3 on a board has a parser of its own, which follows the names of nets."""
    found = _HWHUltrascale(hwh_data=hardware_handoff(params, BOARD, 300.0))
    ip = found.ip_dict["accelerator"]
    assert ip["type"] == "fpga-gen:user:fpga_gen_top:1.0"
    assert (ip["phys_addr"], ip["addr_range"]) == (0xA0000000, 0x1000)
    assert found.interrupt_pins["accelerator/interrupt"]["controller"] == "interrupts"
    assert found.interrupt_controllers["interrupts"]["raw_irq"] == 121
    assert found.clock_dict[0]["divisor0"] * found.clock_dict[0]["divisor1"] == 5


def test_pins_and_nets_are_those_of_the_hardware(params):
    root = ElementTree.fromstring(hardware_handoff(params, BOARD, 300.0))
    modules = {m.get("INSTANCE"): m for m in root.iter("MODULE")}
    pins = {p.get("NAME"): p for p in modules["accelerator"].iter("PORT")}
    top = Top(params)
    top._MustUse__silence = True  # only its pins are looked at
    real = top.ports()
    del real["debug_layer"]  # for simulation, left open
    assert {n: p.get("DIR") for n, p in pins.items()} == {
        name: "I" if direction.value == "input" else "O" for name, (_, direction) in real.items()
    }
    for name, (signal, _) in real.items():
        assert int(pins[name].get("LEFT", 0)) + 1 == len(signal), name
    # Each end of a wire names the other, and both carry one net, driven once.
    drivers: dict[str, int] = {}
    for instance, module in modules.items():
        for port in module.iter("PORT"):
            net = port.get("SIGNAME")
            drivers[net] = drivers.get(net, 0) + (port.get("DIR") == "O")
            for wire in port.iter("CONNECTION"):
                (other,) = [
                    p
                    for p in modules[wire.get("INSTANCE")].iter("PORT")
                    if p.get("NAME") == wire.get("PORT")
                ]
                assert other.get("SIGNAME") == net
                back = {(c.get("INSTANCE"), c.get("PORT")) for c in other.iter("CONNECTION")}
                assert (instance, port.get("NAME")) in back
    assert set(drivers.values()) == {1}


def test_clocks(params):
    """With two, the processor's drives the wizard that makes them, and nothing else."""
    root = ElementTree.fromstring(hardware_handoff(params, BOARD, 300.0))
    pins = {
        (m.get("INSTANCE"), p.get("NAME")): p for m in root.iter("MODULE") for p in m.iter("PORT")
    }
    sinks = {
        (c.get("INSTANCE"), c.get("PORT"))
        for c in pins["processor", "pl_clk0"].iter()
        if c.get("PORT")
    }
    slow = {("accelerator", "clk"), ("reset", "slowest_sync_clk"), ("interrupts", "s_axi_aclk")}
    assert all(pins[pin].get("CLKFREQUENCY") == "299997000" for pin in slow)
    if not params.double_clock:
        assert sinks == slow
        assert "clocks" not in {instance for instance, _ in pins}
        return
    assert sinks == {("clocks", "clk_in1")}
    assert {pins[pin].get("SIGNAME") for pin in slow} == {"clocks_clk_out2"}
    fast = pins["accelerator", "clk_2x"]
    assert fast.get("SIGNAME") == "clocks_clk_out1"
    assert fast.get("CLKFREQUENCY") == "599994000"
    assert pins["reset", "dcm_locked"].get("SIGNAME") == "clocks_locked"


def test_every_port_reaches_the_memory(params):
    root = ElementTree.fromstring(hardware_handoff(params, BOARD, 300.0))
    (module,) = [m for m in root.iter("MODULE") if m.get("INSTANCE") == "accelerator"]
    ranges = {r.get("MASTERBUSINTERFACE"): r for r in module.iter("MEMRANGE")}
    assert set(ranges) == {f"m_axi_{k}" for k in range(params.ports)}
    for k, hp in enumerate(BOARD.vivado.hp_order[: params.ports]):
        assert ranges[f"m_axi_{k}"].get("SLAVEBUSINTERFACE") == f"S_AXI_HP{hp}_FPD"
        pin = module.find(f".//PORT[@NAME='m_axi_{k}_araddr']/CONNECTIONS/CONNECTION")
        assert pin is not None
        assert pin.get("PORT") == f"saxigp{2 + hp}_araddr"
    buses = {bus.get("NAME") for bus in root.iter("BUSINTERFACE")}
    used = {f"S_AXI_HP{hp}_FPD" for hp in BOARD.vivado.hp_order[: params.ports]}
    assert {bus for bus in buses if str(bus).startswith("S_AXI_HP")} == used


def test_the_same_design_gives_the_same_bytes():
    texts = [hardware_handoff(SMALL, BOARD, 300.0) for _ in range(2)]
    assert texts[0] == texts[1]
    assert hardware_handoff(SMALL, BOARD, 150.0) != texts[0]


@pytest.mark.parametrize("mhz", [300.0, 250.0, 214.28, 150.0, 100.0])
def test_clock(mhz: float):
    assert ps.pl_clock(mhz).mhz == pytest.approx(mhz, rel=0.01)


def test_a_clock_that_cannot_be_had():
    with pytest.raises(BoardError, match="no integer fraction"):
        ps.pl_clock(900.0)


def test_zynq_7000_is_refused():
    board = load_board("pynq-z2")
    with pytest.raises(BoardError, match="pynq-z2 has a Zynq-7000"):
        hardware_handoff(SMALL, board, 100.0)


def test_stand_in_is_a_bit_file_without_configuration():
    data = stand_in_bitstream("fpga_gen", BOARD.part, 0x1234, "<hwh/>")
    header = parse_bit_header(data)
    assert header["design"] == "fpga_gen"
    assert header["part"] == BOARD.part
    assert NOTE in data
    assert bytes.fromhex("aa995566") not in data  # the synchronisation word of a bitstream
    words = np.frombuffer(bit2bin(data), ">u4")
    assert words.astype("<u4").tobytes() == header["data"]
    assert carried_hash(bit2bin(data)) == 0x1234
    assert carried_hash(header["data"]) is carried_hash(b"\0" * 64) is None  # not turned round


def test_stand_ins_of_two_designs_differ():
    one = stand_in_bitstream("a", BOARD.part, 1, "<hwh/>")
    assert one != stand_in_bitstream("a", BOARD.part, 2, "<hwh/>")
    assert one != stand_in_bitstream("a", BOARD.part, 1, "<hwh>other</hwh>")
