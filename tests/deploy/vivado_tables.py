"""What Vivado offers, as far as the project's Tcl uses it, each entry with its document.

The recorded design is checked against these tables, not against a run of Vivado.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Settings = dict[str, str]

# Command: options it is used with. UG835 (Tcl commands), UG1118 (ipx).
COMMANDS: dict[str, set[str]] = {
    "create_project": {"-force", "-part"},
    "close_project": set(),
    "current_project": set(),
    "current_fileset": set(),
    "get_board_parts": {"-quiet", "-latest_file_version"},
    "get_ipdefs": {"-all", "-quiet", "-filter"},
    "add_files": {"-norecurse"},
    "update_compile_order": {"-fileset"},
    "update_ip_catalog": set(),
    "set_property": {"-dict"},
    "get_property": set(),
    "get_files": set(),
    "create_bd_design": set(),
    "create_bd_cell": {"-type", "-vlnv"},
    "apply_bd_automation": {"-rule", "-config"},
    "get_bd_pins": set(),
    "get_bd_intf_pins": set(),
    "get_bd_addr_spaces": set(),
    "get_bd_addr_segs": {"-quiet"},
    "connect_bd_net": set(),
    "connect_bd_intf_net": set(),
    "assign_bd_address": {"-offset", "-range", "-target_address_space", "-force"},
    "exclude_bd_addr_seg": {"-target_address_space"},
    "validate_bd_design": set(),
    "save_bd_design": set(),
    "generate_target": set(),
    "make_wrapper": {"-files", "-top", "-import", "-fileset"},
    "launch_runs": {"-jobs", "-to_step"},
    "wait_on_run": set(),
    "get_runs": set(),
    "open_run": set(),
    "reset_run": set(),
    "close_design": set(),
    "report_utilization": {"-file"},
    "report_timing_summary": {"-file"},
    "report_power": {"-file"},
    "get_timing_paths": {"-delay_type", "-max_paths"},
    "version": {"-short"},
    "ipx::package_project": {
        "-root_dir", "-vendor", "-library", "-taxonomy", "-import_files", "-set_current", "-force",
    },
    "ipx::current_core": set(),
    "ipx::get_ports": {"-of_objects"},
    "ipx::get_memory_maps": {"-quiet", "-of_objects"},
    "ipx::get_address_spaces": {"-quiet", "-of_objects"},
    "ipx::remove_all_bus_interface": set(),
    "ipx::remove_memory_map": set(),
    "ipx::remove_address_space": set(),
    "ipx::get_file_groups": {"-of_objects", "-filter"},
    "ipx::add_file": set(),
    "ipx::add_bus_interface": set(),
    "ipx::add_port_map": set(),
    "ipx::add_bus_parameter": set(),
    "ipx::add_address_space": set(),
    "ipx::add_memory_map": set(),
    "ipx::add_address_block": set(),
    "ipx::create_xgui_files": set(),
    "ipx::update_checksums": set(),
    "ipx::check_integrity": set(),
    "ipx::save_core": set(),
}  # fmt: skip

# Properties outside CONFIG, by the kind of object. UG912, UG1118.
PROPERTIES = {
    "project": {"board_part", "board_connections", "ip_repo_paths"},
    "fileset": {"top"},
    "run": {"strategy"},
    "core": {"name", "version", "display_name", "description", "vendor_display_name"},
    "interface": {
        "abstraction_type_vlnv", "bus_type_vlnv", "interface_mode", "master_address_space_ref",
        "slave_memory_map_ref",
    },
    "port map": {"physical_name"},
    "parameter": {"value"},
    "address space": {"range", "width"},
    "address block": {"range", "width", "usage"},
    "file of the IP": {"type", "processing_order"},
}  # fmt: skip
STRATEGIES = {  # UG904, implementation strategies
    "Performance_ExplorePostRoutePhysOpt",
    "Performance_NetDelay_high",
    "Congestion_SpreadLogic_high",
}

# Parameters of packaged interfaces and their values. UG1118, UG994 (AXI), PG247 (what it reads).
BUS_PARAMETERS: dict[str, Callable[[str], bool]] = {
    "PROTOCOL": lambda v: v in ("AXI4", "AXI4LITE"),
    "SUPPORTS_NARROW_BURST": lambda v: v in ("0", "1"),
    "MAX_BURST_LENGTH": lambda v: 1 <= int(v) <= 256,
    "NUM_READ_OUTSTANDING": lambda v: 1 <= int(v) <= 32,
    "NUM_WRITE_OUTSTANDING": lambda v: 1 <= int(v) <= 32,
    "READ_WRITE_MODE": lambda v: v in ("READ_WRITE", "READ_ONLY", "WRITE_ONLY"),
    "POLARITY": lambda v: v in ("ACTIVE_HIGH", "ACTIVE_LOW"),
    "ASSOCIATED_BUSIF": lambda v: bool(v),
    "ASSOCIATED_RESET": lambda v: bool(v),
    "FREQ_HZ": lambda v: v == "",  # propagated from the block design
    "SENSITIVITY": lambda v: v in ("LEVEL_HIGH", "LEVEL_LOW", "EDGE_RISING", "EDGE_FALLING"),
}

# Signals a master drives; the slave drives the others. ARM IHI 0022, UG1037.
AXI_MASTER_DRIVES = {
    *("AWID", "AWADDR", "AWLEN", "AWSIZE", "AWBURST", "AWCACHE", "AWPROT", "AWVALID"),
    *("WDATA", "WSTRB", "WLAST", "WVALID", "BREADY"),
    *("ARID", "ARADDR", "ARLEN", "ARSIZE", "ARBURST", "ARCACHE", "ARPROT", "ARVALID", "RREADY"),
}
AXI_SLAVE_DRIVES = {
    *("AWREADY", "WREADY", "BID", "BRESP", "BVALID"),
    *("ARREADY", "RID", "RDATA", "RRESP", "RLAST", "RVALID"),
}


@dataclass(frozen=True)
class Pin:
    """kind: clk, rst, rst_n or intr; output: driven by the cell; needed: an input that has to be
    connected."""

    kind: str
    output: bool = False
    needed: bool = True


@dataclass(frozen=True)
class Interface:
    """AXI interface with the clock pin it belongs to."""

    master: bool
    clock: str


@dataclass(frozen=True)
class Ip:
    """settings: CONFIG properties with the values they take; the rest follows from them."""

    source: str
    settings: dict[str, Callable[[str], bool]]
    pins: Callable[[Settings], dict[str, Pin]]
    interfaces: Callable[[Settings], dict[str, Interface]]


def _flag(value: str) -> bool:
    return value in ("0", "1")


def _bool(value: str) -> bool:
    return value in ("true", "false")


# PG065: inputs, and what drives an output.
CLOCK_SOURCES = (
    "Single_ended_clock_capable_pin", "Differential_clock_capable_pin", "Global_buffer",
    "No_buffer",
)  # fmt: skip
CLOCK_BUFFERS = (
    "BUFG", "BUFGCE", "BUFGCE_DIV", "Buffer", "Buffer_with_CE", "No_buffer",
)  # fmt: skip


def _mhz(value: str) -> bool:
    return 0 < float(value) <= 600


def _ps8_pins(s: Settings) -> dict[str, Pin]:
    pins = {}
    if s["PSU__FPGA_PL0_ENABLE"] == "1":
        pins = {"pl_clk0": Pin("clk", True), "pl_resetn0": Pin("rst_n", True)}
    if s["PSU__USE__IRQ0"] == "1":
        pins["pl_ps_irq0"] = Pin("intr")
    return pins | {i.clock: Pin("clk") for i in _ps8_interfaces(s).values()}


def _ps8_interfaces(s: Settings) -> dict[str, Interface]:
    names = ("M_AXI_HPM0_FPD", "M_AXI_HPM1_FPD", "M_AXI_HPM0_LPD")
    clocks = ("maxihpm0_fpd_aclk", "maxihpm1_fpd_aclk", "maxihpm0_lpd_aclk")
    found = {
        names[k]: Interface(True, clocks[k]) for k in range(3) if s[f"PSU__USE__M_AXI_GP{k}"] == "1"
    }
    for hp in range(4):
        if s.get(f"PSU__USE__S_AXI_GP{hp + 2}") == "1":
            found[f"S_AXI_HP{hp}_FPD"] = Interface(False, f"saxihp{hp}_fpd_aclk")
    return found


def _ps7_pins(s: Settings) -> dict[str, Pin]:
    pins = {}
    if s["PCW_EN_CLK0_PORT"] == "1":
        pins["FCLK_CLK0"] = Pin("clk", True)
    if s["PCW_EN_RST0_PORT"] == "1":
        pins["FCLK_RESET0_N"] = Pin("rst_n", True)
    if s["PCW_USE_FABRIC_INTERRUPT"] == "1" and s["PCW_IRQ_F2P_INTR"] == "1":
        pins["IRQ_F2P"] = Pin("intr")
    return pins | {i.clock: Pin("clk") for i in _ps7_interfaces(s).values()}


def _ps7_interfaces(s: Settings) -> dict[str, Interface]:
    found = {}
    if s["PCW_USE_M_AXI_GP0"] == "1":
        found["M_AXI_GP0"] = Interface(True, "M_AXI_GP0_ACLK")
    for hp in range(4):
        if s.get(f"PCW_USE_S_AXI_HP{hp}") == "1":
            found[f"S_AXI_HP{hp}"] = Interface(False, f"S_AXI_HP{hp}_ACLK")
    return found


def _smartconnect_interfaces(s: Settings) -> dict[str, Interface]:
    found = {f"S{k:02}_AXI": Interface(False, "aclk") for k in range(int(s["NUM_SI"]))}
    return found | {f"M{k:02}_AXI": Interface(True, "aclk") for k in range(int(s["NUM_MI"]))}


def _clk_wiz_pins(s: Settings) -> dict[str, Pin]:
    pins = {"clk_in1": Pin("clk"), "clk_out1": Pin("clk", True)}
    if s.get("CLKOUT2_USED") == "true":
        pins["clk_out2"] = Pin("clk", True)
    if s.get("USE_LOCKED", "true") == "true":
        pins["locked"] = Pin("rst_n", True)  # as a reset: low while there is no clock
    if s.get("USE_RESET", "true") == "true":
        kind = {"ACTIVE_LOW": "rst_n", "ACTIVE_HIGH": "rst"}[s.get("RESET_TYPE", "ACTIVE_HIGH")]
        pins[s.get("RESET_PORT", "reset")] = Pin(kind)
    return pins


IPS: dict[str, Ip] = {
    "zynq_ultra_ps_e": Ip(
        "PG201, UG1085",
        {
            "PSU__FPGA_PL0_ENABLE": _flag,
            "PSU__CRL_APB__PL0_REF_CTRL__SRCSEL": lambda v: v in ("IOPLL", "RPLL", "DPLL"),
            "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": _mhz,
            **{f"PSU__USE__M_AXI_GP{k}": _flag for k in range(3)},
            "PSU__MAXIGP0__DATA_WIDTH": lambda v: v in ("32", "64", "128"),
            "PSU__USE__IRQ0": _flag,
            **{f"PSU__USE__S_AXI_GP{k}": _flag for k in range(2, 6)},
            **{
                f"PSU__SAXIGP{k}__DATA_WIDTH": lambda v: v in ("32", "64", "128")
                for k in range(2, 6)
            },
        },
        _ps8_pins,
        _ps8_interfaces,
    ),
    "processing_system7": Ip(
        "PG082, UG585",
        {
            "PCW_EN_CLK0_PORT": _flag,
            "PCW_EN_RST0_PORT": _flag,
            "PCW_FPGA0_PERIPHERAL_FREQMHZ": lambda v: 0.1 <= float(v) <= 250,
            "PCW_USE_M_AXI_GP0": _flag,
            "PCW_USE_FABRIC_INTERRUPT": _flag,
            "PCW_IRQ_F2P_INTR": _flag,
            **{f"PCW_USE_S_AXI_HP{k}": _flag for k in range(4)},
            **{f"PCW_S_AXI_HP{k}_DATA_WIDTH": lambda v: v in ("32", "64") for k in range(4)},
        },
        _ps7_pins,
        _ps7_interfaces,
    ),
    "smartconnect": Ip(
        "PG247",
        {"NUM_SI": lambda v: 1 <= int(v) <= 16, "NUM_MI": lambda v: 1 <= int(v) <= 16},
        lambda s: {"aclk": Pin("clk"), "aresetn": Pin("rst_n")},
        _smartconnect_interfaces,
    ),
    "proc_sys_reset": Ip(
        "PG164",
        {},
        lambda s: {
            "slowest_sync_clk": Pin("clk"),
            "ext_reset_in": Pin("rst_n"),  # its polarity follows what is connected
            "aux_reset_in": Pin("rst_n", needed=False),
            "dcm_locked": Pin("rst_n", needed=False),
            "mb_reset": Pin("rst", True),
            "bus_struct_reset": Pin("rst", True),
            "peripheral_reset": Pin("rst", True),
            "interconnect_aresetn": Pin("rst_n", True),
            "peripheral_aresetn": Pin("rst_n", True),
        },
        lambda s: {},
    ),
    "clk_wiz": Ip(
        "PG065",
        {
            "PRIMITIVE": lambda v: v in ("MMCM", "PLL", "Auto"),
            "PRIM_SOURCE": lambda v: v in CLOCK_SOURCES,
            "NUM_OUT_CLKS": lambda v: 1 <= int(v) <= 7,
            "CLKOUT2_USED": _bool,
            **{f"CLKOUT{k}_DRIVES": lambda v: v in CLOCK_BUFFERS for k in (1, 2)},
            **{f"CLKOUT{k}_MATCHED_ROUTING": _bool for k in (1, 2)},
            **{f"CLKOUT{k}_REQUESTED_OUT_FREQ": lambda v: 0 < float(v) <= 775 for k in (1, 2)},
            "USE_LOCKED": _bool,
            "USE_RESET": _bool,
            "RESET_TYPE": lambda v: v in ("ACTIVE_HIGH", "ACTIVE_LOW"),
            "RESET_PORT": lambda v: v in ("reset", "resetn"),
        },
        _clk_wiz_pins,
        lambda s: {},
    ),
    "axi_intc": Ip(
        "PG099",
        {"C_IRQ_CONNECTION": _flag},  # 1: a single line instead of a bus
        lambda s: {
            "s_axi_aclk": Pin("clk"),
            "s_axi_aresetn": Pin("rst_n"),
            "intr": Pin("intr"),
            **({"irq": Pin("intr", True)} if s.get("C_IRQ_CONNECTION") == "1" else {}),
        },
        lambda s: {"s_axi": Interface(False, "s_axi_aclk")},
    ),
}

# What the automation of each processing system takes. UG994, "board automation".
AUTOMATION = {
    "zynq_ultra_ps_e": ("xilinx.com:bd_rule:zynq_ultra_ps_e", {"apply_board_preset": "1"}),
    "processing_system7": (
        "xilinx.com:bd_rule:processing_system7",
        {
            "make_external": "FIXED_IO, DDR", "apply_board_preset": "1", "Master": "Disable",
            "Slave": "Disable",
        },
    ),
}  # fmt: skip

# Windows of the masters towards the programmable logic: UG1085 table "system address map"
# (M_AXI_HPM0_FPD, lower part), UG585 "system-level address map" (M_AXI_GP0).
LOGIC_WINDOW = {
    "zynq_ultra_ps_e": (0xA000_0000, 0xB000_0000),
    "processing_system7": (0x4000_0000, 0x8000_0000),
}
DDR_LOW_BYTES = 0x8000_0000  # UG1085: beyond this DRAM lies in the high window
INTC_MIN_BYTES = 0x1000  # PG099: registers up to 0x200; 4 KB is the smallest AXI window


def dram_segments(processor: str, hp: int, dram_bytes: int) -> set[str]:
    """Segments of an HP port that are DRAM (names as in Vivado's own designs; PG201, PG082)."""
    if processor == "processing_system7":
        return {f"processor/S_AXI_HP{hp}/HP{hp}_DDR_LOWOCM"}
    stem = f"processor/SAXIGP{hp + 2}/HP{hp}_DDR_"
    return {f"{stem}LOW"} | ({f"{stem}HIGH"} if dram_bytes > DDR_LOW_BYTES else set())


def other_segments(processor: str, hp: int) -> set[str]:
    """Segments of the same port that are not."""
    if processor == "processing_system7":
        return set()
    return {f"processor/SAXIGP{hp + 2}/HP{hp}_{name}" for name in ("QSPI", "LPS_OCM")}
