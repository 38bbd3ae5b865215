"""A mapped module as Yosys writes it in JSON -> cells, nets and names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fpga_gen.synth.cells import IGNORED, Cost, cell_cost, is_primitive

Bit = int | str  # a net, or the constant "0", "1", "x"
_OUTPUTS = {  # output pins of primitives; Yosys names no direction for a black box
    "LUT": ("O",),
    "INV": ("O",),
    "MUXF": ("O",),
    "FD": ("Q",),
    "LD": ("Q",),
    "CARRY": ("O", "CO"),
    "SRL": ("Q", "Q31", "Q15"),
    "RAM": ("O", "DO", "SPO", "DPO", "DOUT", "CASDO"),
    "URAM": ("DOUT", "CAS_OUT", "DBITERR", "SBITERR", "RDACCESS"),
    "DSP48": ("P", "ACOUT", "BCOUT", "PCOUT", "CARRY", "MULTSIGNOUT", "OVERFLOW", "PATTERN",
              "UNDERFLOW", "XOROUT"),
}  # fmt: skip
_CLOCKS = {"C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK"}


@dataclass(frozen=True)
class Cell:
    """name: instance; kind: primitive or module; pins: bits by pin, lowest first."""

    name: str
    kind: str
    parameters: Mapping[str, str]
    pins: Mapping[str, tuple[Bit, ...]]

    def parameter(self, name: str, default: int = 0) -> int:
        """An integer parameter (Yosys writes bit strings)."""
        value = self.parameters.get(name)
        if value is None:
            return default
        return int(value, 2) if isinstance(value, str) else int(value)


def is_output_pin(kind: str, pin: str) -> bool:
    """Direction of a pin of a primitive."""
    for prefix in ("URAM", "DSP48", "CARRY", "MUXF", "LUT", "INV", "SRL", "RAM", "FD", "LD"):
        if kind.startswith(prefix):
            names = _OUTPUTS[prefix]
            exact = prefix in ("LUT", "INV", "MUXF", "FD", "LD", "CARRY", "SRL")
            return pin in names if exact else pin.startswith(names)
    raise ValueError(f"unknown primitive {kind}")


def is_clock_pin(pin: str) -> bool:
    return pin in _CLOCKS


@dataclass(frozen=True)
class Netlist:
    """One mapped module. inputs, outputs: bits by port; cells by their module's order."""

    name: str
    inputs: Mapping[str, tuple[Bit, ...]]
    outputs: Mapping[str, tuple[Bit, ...]]
    cells: tuple[Cell, ...]
    net_names: Mapping[int, str] = field(repr=False)

    def primitives(self) -> Iterator[Cell]:
        return (cell for cell in self.cells if is_primitive(cell.kind))

    @cached_property
    def cost(self) -> Cost:
        """Primitives of this module alone, without the modules it places."""
        return sum((cell_cost(cell.kind) for cell in self.primitives()), Cost())

    def count(self, kind: str) -> int:
        """Number of cells whose type matches the pattern."""
        return sum(bool(re.fullmatch(kind, cell.kind)) for cell in self.cells)

    def name_of(self, bit: Bit) -> str:
        return self.net_names.get(bit, f"net {bit}") if isinstance(bit, int) else str(bit)


def parse_netlist(name: str, data: dict) -> Netlist:
    """One entry of "modules" in Yosys' JSON."""
    ports: dict[str, dict[str, tuple[Bit, ...]]] = {"input": {}, "output": {}}
    for port, entry in data["ports"].items():
        ports[entry["direction"]][port] = tuple(entry["bits"])
    cells = tuple(
        Cell(
            label,
            cell["type"],
            cell.get("parameters", {}),
            {pin: tuple(bits) for pin, bits in cell["connections"].items()},
        )
        for label, cell in data["cells"].items()
        if cell["type"] not in IGNORED
    )
    return Netlist(name, ports["input"], ports["output"], cells, _net_names(data["netnames"]))


def _net_names(nets: dict) -> dict[int, str]:
    """A readable name for every net: of the source text where there is one, the shortest."""
    best: dict[int, tuple[tuple[int, int, str], str]] = {}
    for label, entry in nets.items():
        wide = len(entry["bits"]) > 1
        hidden = entry.get("hide_name", 0) or "$" in label
        for index, bit in enumerate(entry["bits"]):
            if isinstance(bit, int):
                rank = (int(hidden), len(label), label)
                if bit not in best or rank < best[bit][0]:
                    best[bit] = (rank, f"{label}[{index}]" if wide else label)
    return {bit: name for bit, (_, name) in best.items()}
