"""Names in a bitstream. Generated from host/fpga_gen_host/identity.py; do not edit.

VLNVS: as RTL module in a block design, and as packaged IP; CELL: its instance in the
generated block design; DESIGN: stem of the .bit and the .hwh; INTERRUPT: the pin.
"""

VLNVS = (
    "xilinx.com:module_ref:fpga_gen_top:1.0",
    "fpga-gen:user:fpga_gen_top:1.0",
)
CELL = "accelerator"
DESIGN = "fpga_gen"
INTERRUPT = "interrupt"
