"""Names and addresses by which a host finds the accelerator in a bitstream.

One truth for the Vivado project (parameters.tcl), the hardware hand-off and the driver.
"""

from __future__ import annotations

VENDOR, LIBRARY, NAME, VERSION = "fpga-gen", "user", "fpga_gen_top", "1.0"
VLNV = f"{VENDOR}:{LIBRARY}:{NAME}:{VERSION}"  # as packaged IP
MODULE_VLNV = f"xilinx.com:module_ref:{NAME}:1.0"  # as RTL module in a block design of one's own
VLNVS = (MODULE_VLNV, VLNV)  # either may be in a bitstream
CELL = "accelerator"  # instance of the IP in the block design
DESIGN = "fpga_gen"  # block design; stem of the .bit and the .hwh
INTERRUPT_PIN = "interrupt"
CONTROL_BYTES = 0x1000  # AXI4-Lite window of the registers, 12 address bits
INTERRUPT_BYTES = 0x1_0000  # window of the AXI interrupt controller

# First address that each processing system gives to the programmable logic on the master used here:
# M_AXI_HPM0_FPD (UG1085, system address map) and M_AXI_GP0 (UG585, system-level address map).
LOGIC_BASE = {"zynq_ultra_ps_e": 0xA000_0000, "processing_system7": 0x4000_0000}


def control_base(processor: str) -> int:
    """Address of the accelerator's registers; processor: a key of `LOGIC_BASE`."""
    return LOGIC_BASE[processor]


def interrupt_base(processor: str) -> int:
    """Address of the interrupt controller."""
    return LOGIC_BASE[processor] + 0x1_0000
