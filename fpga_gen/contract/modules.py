"""Modules of the generated Verilog: their names, and the class of block that each counts as.

A module without a class is an error, not control logic: whoever adds a block says here what its
cost is proportional to (resources.SIZES).
"""

from __future__ import annotations

from fpga_gen_host import identity

TOP = identity.NAME
DSP_PAIR = "mac_dsp_pair"
DSP_DOUBLE = "mac_dsp_double"
PHASE = "mac_phase"
SP2_COLUMN = "mac_sp2_column"
WEIGHTS = "mac_weights"
SKEW = "mac_skew"
ACCUMULATORS = "accumulators"
ARRAY = "mac_array"
MAX_POOL = "fpga_gen_maxpool"
REQUANTISE = "fpga_gen_requantise"
BANK = "fpga_gen_bank"
RAM = "fpga_gen_ram"
DESIGN_HASH = "fpga_gen_design_hash"

# Name of a module, or the beginning of its name and those of the modules in it: class of block.
CLASSES = {
    DSP_PAIR: "dsp columns",
    DSP_DOUBLE: "dsp columns at twice the clock",
    PHASE: "dsp columns at twice the clock",
    SP2_COLUMN: "sp2 columns",
    SKEW: "lane skew",
    WEIGHTS: "active weights",
    ACCUMULATORS: "accumulators",
    ARRAY: "array",
    REQUANTISE: "requantise",
    BANK: "feature banks",
    MAX_POOL: "max-pool",
    f"{RAM}_distributed": "parameter memory",
    f"{RAM}_block": "control",
    DESIGN_HASH: "control",
    f"{TOP}.engine.exit.lookup": "activation tables",
    f"{TOP}.engine.exit": "exit path",
    f"{TOP}.engine.feed": "feature memory",
    f"{TOP}.engine.memory": "feature memory",
    f"{TOP}.engine.vector": "vector unit",
    f"{TOP}.engine.masks": "lane masks",
    f"{TOP}.engine.loader": "loader",
    f"{TOP}.engine.sequencer": "control",
    f"{TOP}.engine.store": "control",
    f"{TOP}.engine.unpack": "control",
    f"{TOP}.engine.walker": "control",
    f"{TOP}.shell.read": "read ports",
    f"{TOP}.shell.control": "control",
    f"{TOP}.shell.csr": "control",
    f"{TOP}.shell.write": "control",
    f"{TOP}.shell.count": "control",
    f"{TOP}.shell.log": "control",
}
EXACT = {f"{TOP}.engine": "control", f"{TOP}.shell": "control", TOP: "control"}


def class_of(module: str) -> str:
    """Class of a module of the generated Verilog; KeyError, with what to do, if it has none."""
    if module in EXACT:
        return EXACT[module]
    for name, block in CLASSES.items():
        if module == name or module.startswith((f"{name}.", f"{name}_")):
            return block
    raise KeyError(f"module {module} has no class of block: give it one in contract/modules.py")
