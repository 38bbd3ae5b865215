"""The hardware handoff (.hwh) of an accelerator beside its processor, generated from the design.

PYNQ finds IP, addresses, registers, clocks and interrupt in this file. Vivado writes one for a
bitstream; this one describes the virtual board, where the accelerator hangs on the processor
without interconnect. Pins come from the generated hardware, registers from the register table.
"""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from fpga_gen import __version__
from fpga_gen.boards import Board
from fpga_gen.contract.params import PORT_BITS, EngineParams
from fpga_gen.deploy import processor as ps
from fpga_gen.deploy.handoff_registers import REGISTER_BITS, register_element
from fpga_gen.hardware.shell.axi_names import axi_members
from fpga_gen_host import identity
from fpga_gen_host.registers import REGISTERS

# Instances; CLOCKS is there if the DSP columns run at twice the engine's clock.
PS, RESET, INTERRUPTS, CLOCKS = "processor", "reset", "interrupts", "clocks"
Pins = dict[str, tuple[int, str]]  # name -> width, direction ('I', 'O')


def hardware_handoff(params: EngineParams, board: Board, clock_mhz: float) -> str:
    """XML text of the .hwh; byte-deterministic.

    Raises:
        BoardError: no Zynq UltraScale+ board, or a clock that its PLL does not give.
    """
    ps.need_ultrascale(board)
    clock = ps.pl_clock(clock_mhz)
    root = Xml.Element(
        "EDKSYSTEM", EDWVERSION="1.2", TIMESTAMP="none", VIVADOVERSION=f"fpga-gen {__version__}"
    )
    device, _, package = board.part.partition("-")
    Xml.SubElement(
        root, "SYSTEMINFO", ARCH="zynquplus", BOARD=board.vivado_board, DEVICE=device,
        NAME=identity.DESIGN, PACKAGE=package, SPEEDGRADE="",
    )  # fmt: skip
    Xml.SubElement(root, "EXTERNALPORTS")
    Xml.SubElement(root, "EXTERNALINTERFACES")
    modules = Xml.SubElement(root, "MODULES")
    modules.append(_accelerator(params, board, clock))
    modules.extend((_interrupts(params, clock), _reset(params, clock)))
    if params.double_clock:
        modules.append(_clocks(clock))
    modules.append(_processor(params, board, clock))
    Xml.indent(root)
    text = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n{text}\n'


# --- modules --------------------------------------------------------------------------------


def _module(name: str, vlnv: str, **more: str) -> Xml.Element:
    attributes = {
        "FULLNAME": f"/{name}", "HWVERSION": vlnv.rpartition(":")[2], "INSTANCE": name,
        "IPTYPE": "PERIPHERAL", "IS_ENABLE": "1", "MODCLASS": "PERIPHERAL",
        "MODTYPE": vlnv.split(":")[2], "VLNV": vlnv,
    }  # fmt: skip
    return Xml.Element("MODULE", attributes | more)


def _hertz(clock: ps.PlClock, times: int = 1) -> str:
    return str(round(times * clock.mhz * 1e6))


def _clocked(module: Xml.Element, pin: str, params: EngineParams, clock: ps.PlClock) -> None:
    """An input for the engine's clock."""
    source = (CLOCKS, "clk_out2") if params.double_clock else (PS, "pl_clk0")
    _port(module, pin, "I", source, SIGIS="clk", CLKFREQUENCY=_hertz(clock))


CLOCKED = ((identity.CELL, "clk"), (RESET, "slowest_sync_clk"), (INTERRUPTS, "s_axi_aclk"))


def _accelerator(params: EngineParams, board: Board, clock: ps.PlClock) -> Xml.Element:
    module = _module(identity.CELL, identity.VLNV)
    blocks = Xml.SubElement(module, "ADDRESSBLOCKS")
    block = Xml.SubElement(
        blocks, "ADDRESSBLOCK", ACCESS="read-write", INTERFACE="s_axi", NAME="Reg",
        RANGE=str(identity.CONTROL_BYTES), USAGE="register",
    )  # fmt: skip
    Xml.SubElement(block, "REGISTERS").extend(register_element(r) for r in REGISTERS)
    _parameters(module, {"C_S_AXI_BASEADDR": f"0x{ps.CONTROL_BASE:08X}"})
    _clocked(module, "clk", params, clock)
    if params.double_clock:
        twice = _hertz(clock, 2)
        _port(module, "clk_2x", "I", (CLOCKS, "clk_out1"), SIGIS="clk", CLKFREQUENCY=twice)
    _port(module, "rst", "I", (RESET, "peripheral_reset"), SIGIS="rst")
    _port(
        module,
        identity.INTERRUPT_PIN,
        "O",
        (INTERRUPTS, "intr"),
        SIGIS="INTERRUPT",
        SENSITIVITY="LEVEL_HIGH",
    )
    interfaces = Xml.SubElement(module, "BUSINTERFACES")
    for bus, pins in _buses(params).items():
        for name, (width, direction) in pins.items():
            partner = (PS, f"{_ps_prefix(bus, board)}_{name}")
            _port(module, f"{bus}_{name}", direction, partner, width=width)
        kind = "SLAVE" if bus == "s_axi" else "MASTER"
        _interface(interfaces, bus, kind, {n: f"{bus}_{n}" for n in pins})
    _memory_map(
        module,
        (
            dict(
                ADDRESSBLOCK=f"HP{hp}_DDR_LOW", BASENAME="C_BASEADDR", BASEVALUE="0x00000000",
                HIGHNAME="C_HIGHADDR", HIGHVALUE=f"0x{ps.DDR_LOW - 1:08X}", INSTANCE=PS,
                IS_DATA="TRUE", IS_INSTRUCTION="FALSE", MASTERBUSINTERFACE=f"m_axi_{k}",
                MEMTYPE="MEMORY", SLAVEBUSINTERFACE=f"S_AXI_HP{hp}_FPD",
            )
            for k, hp in enumerate(board.vivado.hp_order[: params.ports])
        ),
    )  # fmt: skip
    return module


def _interrupts(params: EngineParams, clock: ps.PlClock) -> Xml.Element:
    """AXI interrupt controller: PYNQ only knows interrupts behind one. Its bus is left open."""
    module = _module(INTERRUPTS, "xilinx.com:ip:axi_intc:4.1")
    _parameters(module, {"C_NUM_INTR_INPUTS": "1", "C_IRQ_IS_LEVEL": "1"})
    _clocked(module, "s_axi_aclk", params, clock)
    _port(module, "intr", "I", (identity.CELL, "interrupt"), SIGIS="INTERRUPT")
    _port(module, "irq", "O", (PS, "pl_ps_irq0"), SIGIS="INTERRUPT", SENSITIVITY="LEVEL_HIGH")
    _interface(Xml.SubElement(module, "BUSINTERFACES"), "s_axi", "SLAVE", {})
    return module


def _reset(params: EngineParams, clock: ps.PlClock) -> Xml.Element:
    """Processor System Reset: active-low reset of the processor to the active-high one of the IP.
    Its active-high output is synchronous to the clock."""
    module = _module(RESET, "xilinx.com:ip:proc_sys_reset:5.0")
    _clocked(module, "slowest_sync_clk", params, clock)
    _port(module, "ext_reset_in", "I", (PS, "pl_resetn0"), SIGIS="rst")
    if params.double_clock:
        _port(module, "dcm_locked", "I", (CLOCKS, "locked"))
    _port(module, "peripheral_reset", "O", (identity.CELL, "rst"), SIGIS="rst")
    Xml.SubElement(module, "BUSINTERFACES")
    return module


def _clocks(clock: ps.PlClock) -> Xml.Element:
    """Clocking Wizard: the engine's clock and twice that from the processor's."""
    module = _module(CLOCKS, "xilinx.com:ip:clk_wiz:6.0")
    once, twice = _hertz(clock), _hertz(clock, 2)
    _port(module, "clk_in1", "I", (PS, "pl_clk0"), SIGIS="clk", CLKFREQUENCY=once)
    _port(module, "resetn", "I", (PS, "pl_resetn0"), SIGIS="rst")
    fast = (identity.CELL, "clk_2x")
    _port(module, "clk_out1", "O", fast, SIGIS="clk", CLKFREQUENCY=twice)
    _port(module, "clk_out2", "O", *CLOCKED, SIGIS="clk", CLKFREQUENCY=once)
    _port(module, "locked", "O", (RESET, "dcm_locked"))
    Xml.SubElement(module, "BUSINTERFACES")
    return module


def _processor(params: EngineParams, board: Board, clock: ps.PlClock) -> Xml.Element:
    module = _module(PS, f"xilinx.com:ip:{ps.PROCESSOR}:3.5", CONFIGURABLE="TRUE", IS_PL="FALSE")
    values = {"C_MAXIGP0_DATA_WIDTH": str(REGISTER_BITS)}
    used = board.vivado.hp_order[: params.ports]
    values |= {f"C_SAXIGP{2 + hp}_DATA_WIDTH": str(PORT_BITS) for hp in used}
    for k in range(4):
        prefix, runs = f"PSU__CRL_APB__PL{k}_REF_CTRL", k == 0
        values[f"PSU__FPGA_PL{k}_ENABLE"] = str(int(runs))
        values[f"{prefix}__DIVISOR0"] = str(clock.divisor0 if runs else 1)
        values[f"{prefix}__DIVISOR1"] = str(clock.divisor1 if runs else 1)
        values[f"{prefix}__SRCSEL"] = "IOPLL"
    values["PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ"] = f"{clock.mhz:.6f}"
    values["PSU__DDR_HIGH_ADDRESS_GUI_ENABLE"] = str(int(board.dram_bytes > ps.DDR_LOW))
    _parameters(module, values)
    clocked, resets = CLOCKED, ((RESET, "ext_reset_in"),)
    if params.double_clock:
        clocked, resets = ((CLOCKS, "clk_in1"),), (*resets, (CLOCKS, "resetn"))
    _port(module, "pl_clk0", "O", *clocked, SIGIS="clk", CLKFREQUENCY=_hertz(clock))
    _port(module, "pl_resetn0", "O", *resets, SIGIS="rst")
    _port(module, "pl_ps_irq0", "I", (INTERRUPTS, "irq"), SIGIS="INTERRUPT")
    interfaces = Xml.SubElement(module, "BUSINTERFACES")
    for bus, pins in _buses(params).items():
        prefix = _ps_prefix(bus, board)
        for name, (width, direction) in pins.items():
            turned = "O" if direction == "I" else "I"
            partner = (identity.CELL, f"{bus}_{name}")
            _port(module, f"{prefix}_{name}", turned, partner, width=width)
        kind = "MASTER" if bus == "s_axi" else "SLAVE"
        _interface(interfaces, _ps_bus(bus, board), kind, {n: f"{prefix}_{n}" for n in pins})
    windows = (
        (identity.CELL, ps.CONTROL_BASE, identity.CONTROL_BYTES),
        (INTERRUPTS, ps.INTERRUPT_BASE, identity.INTERRUPT_BYTES),
    )
    _memory_map(
        module,
        (
            dict(
                ADDRESSBLOCK="Reg", BASENAME="C_BASEADDR", BASEVALUE=f"0x{base:08X}",
                HIGHNAME="C_HIGHADDR", HIGHVALUE=f"0x{base + size - 1:08X}", INSTANCE=instance,
                IS_DATA="TRUE", IS_INSTRUCTION="FALSE", MASTERBUSINTERFACE="M_AXI_HPM0_FPD",
                MEMTYPE="REGISTER", SLAVEBUSINTERFACE="s_axi",
            )
            for instance, base, size in windows
        ),
    )  # fmt: skip
    return module


# --- pieces ---------------------------------------------------------------------------------


def _buses(params: EngineParams) -> dict[str, Pins]:
    """AXI pins of the accelerator by bus, without the bus's prefix."""
    from amaranth.hdl import Shape
    from amaranth.lib.wiring import In

    buses: dict[str, Pins] = {}
    for name, member in axi_members(params.ports).items():
        if name == "interrupt":
            continue
        bus, _, pin = name.rpartition("_")
        direction = "I" if member.flow is In else "O"
        buses.setdefault(bus, {})[pin] = (Shape.cast(member.shape).width, direction)
    return buses


def _hp(bus: str, board: Board) -> int:
    """HP port of the accelerator's master `bus`, m_axi_<k>."""
    return board.vivado.hp_order[int(bus.rpartition("_")[2])]


def _ps_bus(bus: str, board: Board) -> str:
    return "M_AXI_HPM0_FPD" if bus == "s_axi" else f"S_AXI_HP{_hp(bus, board)}_FPD"


def _ps_prefix(bus: str, board: Board) -> str:
    """Prefix of the processor's pins: HP port k is slave interface 2 + k."""
    return "maxigp0" if bus == "s_axi" else f"saxigp{2 + _hp(bus, board)}"


def _parameters(module: Xml.Element, values: dict[str, str]) -> None:
    holder = Xml.SubElement(module, "PARAMETERS")
    for name, value in values.items():
        Xml.SubElement(holder, "PARAMETER", NAME=name, VALUE=value)


def _port(
    module: Xml.Element,
    name: str,
    direction: str,
    *partners: tuple[str, str],
    width: int = 1,
    **more: str,
) -> None:
    """A pin wired to `partners`, (instance, pin) each; a net is named after its driver."""
    ports = module.find("PORTS")
    if ports is None:
        ports = Xml.SubElement(module, "PORTS")
    driver = (str(module.get("INSTANCE")), name) if direction == "O" else partners[0]
    vector = {"LEFT": str(width - 1), "RIGHT": "0"} if width > 1 else {}
    facts = {"DIR": direction, "NAME": name, "SIGIS": "undef", "SIGNAME": "_".join(driver)}
    item = Xml.SubElement(ports, "PORT", {**facts, **more, **vector})
    wires = Xml.SubElement(item, "CONNECTIONS")
    for instance, pin in partners:
        Xml.SubElement(wires, "CONNECTION", INSTANCE=instance, PORT=pin)


def _interface(parent: Xml.Element, name: str, kind: str, pins: dict[str, str]) -> None:
    item = Xml.SubElement(
        parent, "BUSINTERFACE", NAME=name, TYPE=kind, VLNV="xilinx.com:interface:aximm:1.0"
    )
    maps = Xml.SubElement(item, "PORTMAPS")
    for logical, physical in pins.items():
        Xml.SubElement(maps, "PORTMAP", LOGICAL=logical.upper(), PHYSICAL=physical)


def _memory_map(module: Xml.Element, ranges) -> None:
    holder = Xml.SubElement(module, "MEMORYMAP")
    for entry in ranges:
        Xml.SubElement(holder, "MEMRANGE", **entry)
