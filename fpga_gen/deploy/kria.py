"""The application folder of a Kria board: what `xmutil loadapp` and dfx-mgr load.

Three files under /lib/firmware/xilinx/NAME: the bitstream as the FPGA manager takes it, a device
tree overlay that names it and sets clock and port widths, and shell.json. Sources: AMD, Kria SOM
"Target Platforms" (firmware files, shell.json); Linux bindings fpga-region.txt, xlnx,afi-fpga and
xlnx,fclk of AMD's kernel; UG1087 (registers AFIFM and AFI_FS). Not run on hardware.
"""

from __future__ import annotations

import json
import struct

from fpga_gen.boards import Board
from fpga_gen.deploy.device_tree import Cells, Reference, TreeNode, blob, source
from fpga_gen.errors import ToolError
from fpga_gen_host.identity import DESIGN

FOLDER = "kria"
BIN, DTBO, DTS, SHELL = f"{DESIGN}.bit.bin", f"{DESIGN}.dtbo", f"{DESIGN}.dts", "shell.json"
FILES = (BIN, DTBO, DTS, SHELL)
SOM = "xck"  # beginning of the parts on Kria modules
SHELL_FACTS = {"shell_type": "XRT_FLAT", "num_slots": "1"}
PREAMBLE = bytes.fromhex("0009 0ff00ff00ff00ff000 0001")
PL0_REF, PL_RESET = 71, 116  # numbers of ZynqMP's clocks and resets: pl0_ref, the PL's resets
WIDTH_CODES = {128: 0, 64: 1, 32: 2}  # of a register AFIFM
FIRST_HP = 4  # index of the reading side of S_AXI_HP0_FPD; its writing side follows
PORT_REGISTERS = 14  # readers and writers of the seven slave ports
HPM_WIDTHS, LPD_WIDTHS = 0x800, 0x000  # HPM0 of 32 bits, HPM1 as it comes out of reset


def is_kria(board: Board) -> bool:
    """Whether the board's part is a Kria module."""
    return board.part.startswith(SOM)


def application(bit: bytes, board: Board, ports: int, clock_mhz: float) -> dict[str, bytes]:
    """The files of the folder by name.

    Args:
        bit: the .bit file; ports: HP ports of the accelerator; clock_mhz: of pl_clk0.

    Raises:
        ToolError: the file is no bitstream.
    """
    tree = overlay(board, ports, clock_mhz)
    return {
        BIN: configuration(bit),
        DTBO: blob(tree),
        DTS: source(tree).encode(),
        SHELL: (json.dumps(SHELL_FACTS, indent=1) + "\n").encode(),
    }


def configuration(bit: bytes) -> bytes:
    """The data of a .bit file without its header, every four bytes turned round, as bootgen writes
    them for the FPGA manager; ToolError if this is no .bit file."""
    if not bit.startswith(PREAMBLE):
        raise ToolError("vivado", "wrote a bitstream without the header of a .bit file")
    at = len(PREAMBLE)
    try:
        while (key := bit[at : at + 1]) != b"e":
            (length,) = struct.unpack_from(">H", bit, at + 1)
            if key not in (b"a", b"b", b"c", b"d"):
                raise ValueError(key)
            at += 3 + length
        (length,) = struct.unpack_from(">I", bit, at + 1)
    except (struct.error, ValueError) as error:
        raise ToolError("vivado", f"wrote a bitstream with a damaged header ({error})") from error
    data = bit[at + 5 : at + 5 + length]
    if len(data) != length or length % 4:
        raise ToolError("vivado", f"wrote a bitstream of {len(data)} of {length} bytes")
    return b"".join(data[i : i + 4][::-1] for i in range(0, length, 4))


def overlay(board: Board, ports: int, clock_mhz: float) -> TreeNode:
    """Bitstream, port widths and clock as nodes."""
    firmware = TreeNode(
        "__overlay__",
        {
            "#address-cells": (2,),
            "#size-cells": (2,),
            "firmware-name": BIN,
            "resets": (Reference("zynqmp_reset"), PL_RESET),
        },
    )
    clock = Reference("zynqmp_clk")
    ports_and_clock = TreeNode(
        "__overlay__",
        {},
        (
            TreeNode(
                "afi0",
                {"compatible": "xlnx,afi-fpga", "config-afi": port_widths(board, ports)},
            ),
            TreeNode(
                "clocking0",
                {
                    "#clock-cells": (0,),
                    "assigned-clock-rates": (round(clock_mhz * 1e6),),
                    "assigned-clocks": (clock, PL0_REF),
                    "clock-output-names": "fabric_clk",
                    "clocks": (clock, PL0_REF),
                    "compatible": "xlnx,fclk",
                },
            ),
        ),
    )
    return TreeNode(
        "",
        {},
        (
            TreeNode("fragment@0", {"target": (Reference("fpga_full"),)}, (firmware,)),
            TreeNode("fragment@1", {"target": (Reference("amba"),)}, (ports_and_clock,)),
        ),
    )


def port_widths(board: Board, ports: int) -> Cells:
    """Pairs (register, value) of config-afi: widths of all ports between processor and logic."""
    used = {FIRST_HP + 2 * hp + side for hp in board.vivado.hp_order[:ports] for side in (0, 1)}
    code = WIDTH_CODES[board.hp_bits]
    cells: list[int] = []
    for register in range(PORT_REGISTERS):
        cells += (register, code if register in used else 0)
    return (*cells, PORT_REGISTERS, HPM_WIDTHS, PORT_REGISTERS + 1, LPD_WIDTHS)
