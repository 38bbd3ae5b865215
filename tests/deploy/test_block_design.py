"""The block design: every IP, setting, pin and interface is looked up in vivado_tables.py, and
connections and addresses are compared with the engine's ports and the driver's constants."""

from __future__ import annotations

import re
import shlex

from fpga_gen.boards import Board
from fpga_gen.contract.params import EngineParams
from fpga_gen_host import identity
from fpga_gen_host.registers import ADDRESS_BITS
from tests.deploy import vivado_tables as tables
from tests.deploy.design import Core, Design, option
from tests.deploy.tcl import Recording


def test_every_ip_and_setting_is_known(design: Design):
    for cell, (ip, vlnv, settings) in design.cells.items():
        if ip == identity.NAME:
            assert not settings
            continue
        assert vlnv == f"xilinx.com:ip:{ip}:9.9", "the newest version in the catalogue"
        for name, value in settings.items():
            assert name in tables.IPS[ip].settings, f"{cell}: {name} ({tables.IPS[ip].source})"
            assert tables.IPS[ip].settings[name](value), f"{cell}: {name} = {value}"


def test_processor_takes_the_boards_preset(recording: Recording, board: Board, design: Design):
    (call,) = recording.of("apply_bd_automation")
    rule, config = tables.AUTOMATION[board.vivado.processor]
    assert option(call, "-rule") == rule
    words = shlex.split(option(call, "-config") or "")
    assert dict(zip(words[::2], words[1::2], strict=True)) == config
    assert call[-1] == design.cell_of(board.vivado.processor)
    commands = [c[0] for c in recording.calls]
    first = next(i for i, c in enumerate(recording.calls) if c[:2] == ("set_property", "-dict"))
    assert commands.index("apply_bd_automation") < first, "the preset would undo the settings"


def known_pins(design: Design, core: Core) -> dict[str, tables.Pin]:
    found = {}
    for cell, (ip, _, settings) in design.cells.items():
        if ip == identity.NAME:
            own = {
                "clk": tables.Pin("clk"),
                "rst": tables.Pin("rst"),
                "interrupt": tables.Pin("intr", True),
            }
            if "clk_2x" in core.interfaces:
                own["clk_2x"] = tables.Pin("clk")
            assert set(own) <= set(core.interfaces)
        else:
            own = tables.IPS[ip].pins(settings)
        found |= {f"{cell}/{name}": pin for name, pin in own.items()}
    return found


def known_interfaces(design: Design, core: Core) -> dict[str, tables.Interface]:
    found = {}
    for cell, (ip, _, settings) in design.cells.items():
        if ip == identity.NAME:
            own = {
                n: tables.Interface(i.mode == "master", "clk")
                for n, i in core.interfaces.items()
                if "aximm" in i.bus
            }
        else:
            own = tables.IPS[ip].interfaces(settings)
        found |= {f"{cell}/{name}": interface for name, interface in own.items()}
    return found


def test_every_pin_has_one_driver_of_its_kind(design: Design, core: Core):
    known = known_pins(design, core)
    driven = [sink for sinks in design.nets.values() for sink in sinks]
    assert len(driven) == len(set(driven)), "a pin with two drivers"
    for driver, sinks in design.nets.items():
        assert known[driver].output, driver
        for sink in sinks:
            assert not known[sink].output, sink
            assert known[sink].kind == known[driver].kind, f"{driver} -> {sink}"
    needed = {name for name, pin in known.items() if not pin.output and pin.needed}
    assert needed <= set(driven), f"not connected: {needed - set(driven)}"


def test_clock_of_the_processor(design: Design, core: Core, board: Board, engine: EngineParams):
    """It drives everything, with two clocks only what makes them."""
    known = known_pins(design, core)
    clocks = {d: sinks for d, sinks in design.nets.items() if known[d].kind == "clk"}
    cell = design.cell_of(board.vivado.processor)
    ((clock, sinks),) = ((d, s) for d, s in clocks.items() if d.split("/")[0] == cell)
    settings = design.cells[cell][2]
    (asked,) = (v for k, v in settings.items() if k.endswith("FREQMHZ"))
    assert float(asked) == board.clock_mhz
    if engine.double_clock:
        assert sinks == ["clocks/clk_in1"]
        assert set(clocks) == {clock, "clocks/clk_out1", "clocks/clk_out2"}
    else:
        assert set(clocks) == {clock}
        assert "clk_wiz" not in {ip for ip, _, _ in design.cells.values()}


def test_two_clocks_from_one_output(
    design: Design, board: Board, engine: EngineParams, recording: Recording
):
    """PG338, "Reference Clock Generation": the fast clock drives the slices alone."""
    if not engine.double_clock:
        assert not any("clk_2x" in sink for sinks in design.nets.values() for sink in sinks)
        assert f"{identity.CELL}/clk" in next(iter(design.nets.values()))
        return
    settings = design.cells[design.cell_of("clk_wiz")][2]
    assert float(settings["CLKOUT2_REQUESTED_OUT_FREQ"]) == board.clock_mhz
    assert float(settings["CLKOUT1_REQUESTED_OUT_FREQ"]) == 2 * board.clock_mhz
    for k in (1, 2):  # PG065, "Auto Buffer Selection": together BUFGCE_DIV
        assert settings[f"CLKOUT{k}_DRIVES"] == "Buffer"
        assert settings[f"CLKOUT{k}_MATCHED_ROUTING"] == "true"
    assert design.nets["clocks/clk_out1"] == [f"{identity.CELL}/clk_2x"]
    slow = design.nets["clocks/clk_out2"]
    assert {f"{identity.CELL}/clk", "reset/slowest_sync_clk", "control_bus/aclk"} <= set(slow)
    reset = {"zynq_ultra_ps_e": "pl_resetn0", "processing_system7": "FCLK_RESET0_N"}
    assert set(design.nets[f"processor/{reset[board.vivado.processor]}"]) == {
        "clocks/resetn", "reset/ext_reset_in",
    }  # fmt: skip
    assert design.nets["clocks/locked"] == ["reset/dcm_locked"]
    assert ("CONFIG.FREQ_HZ", "clocks/clk_out2") in recording.of("get_property")


def test_every_interface_is_connected_once_master_to_slave(design: Design, core: Core):
    known = known_interfaces(design, core)
    ends = [end for bus in design.buses for end in bus]
    assert len(ends) == len(set(ends))
    assert set(ends) == set(known), "left open, or unknown"
    for master, slave in design.buses:
        assert known[master].master, master
        assert not known[slave].master, slave


def test_each_master_reaches_its_hp_port_and_only_dram(design: Design, board: Board):
    ways = dict(design.buses)
    processor = board.vivado.processor
    suffix = "_FPD" if processor == "zynq_ultra_ps_e" else ""
    seen = []
    for k in range(board.array.ports):
        bridge, _ = ways[f"{identity.CELL}/m_axi_{k}"].split("/")
        assert design.ip(bridge) == "smartconnect"
        hp = board.vivado.hp_order[k]
        assert ways[f"{bridge}/M00_AXI"] == f"processor/S_AXI_HP{hp}{suffix}"
        space = f"{identity.CELL}/m_axi_{k}"
        mapped = {segment for s, segment, _, _ in design.addresses if s == space}
        assert mapped == tables.dram_segments(processor, hp, board.dram_bytes)
        excluded = {segment for s, segment in design.excluded if s == space}
        assert excluded == tables.other_segments(processor, hp)
        seen.append(hp)
    assert len(set(seen)) == board.array.ports
    width = {
        v for k, v in design.cells["processor"][2].items() if re.search("(SAXIGP|HP).*WIDTH", k)
    }
    assert width - {"32"} == {str(board.hp_bits)}


def test_address_map_is_the_drivers(design: Design, board: Board):
    processor = board.vivado.processor
    low, high = tables.LOGIC_WINDOW[processor]
    found = {
        segment: (offset, size)
        for space, segment, offset, size in design.addresses
        if space == "processor/Data"
    }
    assert set(found) == {f"{identity.CELL}/s_axi/Reg", "interrupts/S_AXI/Reg"}
    registers = found[f"{identity.CELL}/s_axi/Reg"]
    assert registers == (identity.control_base(processor), 1 << ADDRESS_BITS)
    assert found["interrupts/S_AXI/Reg"][1] >= tables.INTC_MIN_BYTES
    taken: list[tuple[int, int]] = []
    for offset, size in found.values():
        assert offset is not None
        assert size is not None
        assert low <= offset
        assert offset + size <= high
        assert offset % size == 0
        assert size & (size - 1) == 0
        assert all(offset + size <= o or o + s <= offset for o, s in taken)
        taken.append((offset, size))


def test_registers_and_interrupt_controller_hang_on_the_processor(design: Design, board: Board):
    ways = dict(design.buses)
    master = {"zynq_ultra_ps_e": "M_AXI_HPM0_FPD", "processing_system7": "M_AXI_GP0"}
    bridge = ways[f"processor/{master[board.vivado.processor]}"].split("/")[0]
    assert {ways[f"{bridge}/M0{k}_AXI"] for k in range(2)} == {
        f"{identity.CELL}/s_axi", "interrupts/s_axi",
    }  # fmt: skip


def test_interrupt_goes_through_the_controller(design: Design, board: Board):
    # PYNQ follows the net from the processor's pin to the controller, and from there to the IP.
    pin = {"zynq_ultra_ps_e": "pl_ps_irq0", "processing_system7": "IRQ_F2P"}
    assert design.nets[f"{identity.CELL}/{identity.INTERRUPT_PIN}"] == ["interrupts/intr"]
    assert design.nets["interrupts/irq"] == [f"processor/{pin[board.vivado.processor]}"]
