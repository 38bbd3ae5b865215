"""The constant that the HASH registers show, in a Verilog module of its own.

The hash is made of all other Verilog (see fpga_gen/identity.py), so it is put in afterwards: its
file is written anew, no other is touched. Needs no amaranth.
"""

from __future__ import annotations

from collections.abc import Mapping

from fpga_gen.contract import modules

MODULE = modules.DESIGN_HASH
FILE = f"{MODULE}.v"
BITS = 64
_TEMPLATE = """\
module {module} (
    output wire [{high}:0] value
);
    assign value = {bits}'h{value:0{digits}x};
endmodule
"""


def verilog(value: int) -> str:
    """Text of the module; value: unsigned, `BITS` bits."""
    assert 0 <= value < 1 << BITS
    return _TEMPLATE.format(module=MODULE, high=BITS - 1, bits=BITS, digits=BITS // 4, value=value)


def stamp(files: Mapping[str, str], value: int) -> dict[str, str]:
    """The Verilog files of an accelerator, {name: text}, with `value` for its hash."""
    assert FILE in files, "every accelerator has one"
    return {**files, FILE: verilog(value)}
