"""The generated header `pins.h`: which verilated port is which pin of the simulation shell."""

from __future__ import annotations

import re
from pathlib import Path

from fpga_gen.contract.params import PORT_BITS
from fpga_gen.errors import ToolError
from fpga_gen_host.regions import BEAT_BYTES

READ_CHANNELS = (
    "araddr", "arlen", "arsize", "arburst", "arvalid", "arready",
    "rdata", "rresp", "rlast", "rvalid", "rready",
)  # fmt: skip
WRITE_CHANNELS = (
    "awaddr", "awlen", "awsize", "awburst", "awvalid", "awready",
    "wdata", "wstrb", "wlast", "wvalid", "wready", "bresp", "bvalid", "bready",
)  # fmt: skip
LITE_CHANNELS = (
    "awaddr", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready",
    "bresp", "bvalid", "bready", "araddr", "arvalid", "arready", "rdata", "rresp", "rvalid",
    "rready",
)  # fmt: skip
SINGLE = ("clk", "rst", "interrupt")
RENAMED = "__SYM__"  # prefix that Verilator gives to ports such as "interrupt"
LAYER = "debug_layer"  # optional top-level output: index of the running instruction
# Of an AXI4 port; others are at most 8 bits wide.
WIDTHS = {"rdata": PORT_BITS, "wdata": PORT_BITS, "wstrb": BEAT_BYTES}

_PORT = re.compile(r"VL_(IN|OUT|INOUT)(?:8|16|64|W)?\(&(\w+),(\d+),(\d+)")

_TEMPLATE = """\
// Generated: the ports of {top}.
#pragma once
#include <type_traits>

#include "V{top}.h"
#include "axi_ports.h"

using Model = V{top};
using AxiAddress = std::remove_reference_t<decltype(Model::m_axi_0_araddr)>;
using LiteAddress = std::remove_reference_t<decltype(Model::s_axi_awaddr)>;
constexpr int kReadPorts = {ports};
static_assert(kBeat == {beat}, "bytes of a beat");
#define FG_HAS_LAYER {has_layer}

inline bool interrupt_of(const Model& m) {{ return m.{interrupt}; }}

struct LitePins {{
    LiteAddress* awaddr;
    uint8_t* awvalid;
    const uint8_t* awready;
    uint32_t* wdata;
    uint8_t *wstrb, *wvalid;
    const uint8_t *wready, *bresp, *bvalid;
    uint8_t* bready;
    LiteAddress* araddr;
    uint8_t* arvalid;
    const uint8_t* arready;
    const uint32_t* rdata;
    const uint8_t *rresp, *rvalid;
    uint8_t* rready;
}};

inline void bind_pins(Model& m, ReadPins<AxiAddress>* reads, WritePins<AxiAddress>& write,
                      LitePins& lite) {{
{bindings}
}}
"""


def model_ports(header: Path) -> dict[str, int]:
    """Name -> width in bits of the ports in the class header of a verilated model.

    Verilator prefixes names that C++ programs commonly use; such a name is listed as it is there.
    """
    return {
        name: int(high) - int(low) + 1 for _, name, high, low in _PORT.findall(header.read_text())
    }


def pins_header(ports: dict[str, int], top: str) -> str:
    """Text of `pins.h` for a top with ports `m_axi_<k>_*`, `s_axi_*`, clk, rst and interrupt.

    Raises:
        ToolError: a port is missing or has another width than the shell drives.
    """
    members = {name.removeprefix(RENAMED): name for name in ports}
    ports = {name.removeprefix(RENAMED): width for name, width in ports.items()}
    count = 0
    while f"m_axi_{count}_araddr" in ports:
        count += 1
    needed = [f"m_axi_{k}_{name}" for k in range(max(count, 1)) for name in READ_CHANNELS]
    needed += [f"m_axi_0_{name}" for name in WRITE_CHANNELS]
    needed += [f"s_axi_{name}" for name in LITE_CHANNELS] + list(SINGLE)
    missing = [name for name in needed if name not in ports]
    if missing:
        raise ToolError(
            "simulator", f"top module {top} lacks the ports {', '.join(missing)}; add them"
        )
    addresses = [n for n in needed if n.startswith("m_axi") and n.endswith("addr")]
    for name in needed:
        width, kind = ports[name], name.rsplit("_", 1)[-1]
        if name in addresses:
            good, rule = 33 <= width <= 64, "33 to 64 bits"
        elif name.startswith("s_axi") and kind in ("awaddr", "araddr"):
            good, rule = width == ports["s_axi_awaddr"], "the width of s_axi_awaddr"
        elif name.startswith("s_axi") and kind in ("rdata", "wdata"):
            good, rule = width == 32, "32 bits"
        elif name.startswith("m_axi") and kind in WIDTHS:
            good, rule = width == WIDTHS[kind], f"{WIDTHS[kind]} bits"
        else:
            good, rule = width <= 8, "at most 8 bits"
        if not good:
            raise ToolError(
                "simulator", f"port {name} of {top} is {width} bits wide; the shell needs {rule}"
            )
    pin = "    reads[{}] = {{{}}};"
    lines = [
        pin.format(k, _members(f"m_axi_{k}", READ_CHANNELS, wide=("rdata",))) for k in range(count)
    ]
    lines.append(f"    write = {{{_members('m_axi_0', WRITE_CHANNELS, wide=('wdata',))}}};")
    lines.append(f"    lite = {{{_members('s_axi', LITE_CHANNELS)}}};")
    return _TEMPLATE.format(
        top=top,
        ports=count,
        beat=BEAT_BYTES,
        has_layer=int(LAYER in ports),
        interrupt=members["interrupt"],
        bindings="\n".join(lines),
    )


def _members(prefix: str, names: tuple[str, ...], wide: tuple[str, ...] = ()) -> str:
    return ", ".join(
        f"m.{prefix}_{name}.data()" if name in wide else f"&m.{prefix}_{name}" for name in names
    )
