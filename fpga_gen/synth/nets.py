"""What the timing estimate must know of the nets around a cell: what drives them, whether they need
the routing between slices, and which registers belong into a DSP slice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from fpga_gen.synth.cells import (
    is_flip_flop,
    is_lut,
    is_primitive,
    is_slice_memory,
    is_wide_mux,
)
from fpga_gen.synth.netlist import Bit, Cell, Netlist, is_clock_pin, is_output_pin

FAST_CLOCKS = ("fast_clk", "clk_2x")  # ports of the clock of twice the engine's
CASCADES = ("PCIN", "ACIN", "BCIN", "CARRYCASCIN", "MULTSIGNIN")


class Nets:
    """The nets of a module. driver: kind of the primitive by bit; flip_flops: loads that are data
    pins, by bit; stages, behind: see `_pipelines`."""

    def __init__(self, netlist: Netlist) -> None:
        self.driver: dict[int, str] = {}
        self.flip_flops: Counter[int] = Counter()  # loads that are data pins
        for cell in netlist.primitives():
            for pin, bits in cell.pins.items():
                if is_output_pin(cell.kind, pin):
                    self.driver |= {bit: cell.kind for bit in bits if isinstance(bit, int)}
                elif pin == "D" and is_flip_flop(cell.kind):
                    self.flip_flops.update(bit for bit in bits if isinstance(bit, int))
        self.stages, self.behind = _pipelines(netlist)
        ports = {bit: port for port, bits in netlist.inputs.items() for bit in bits}
        self.fast = {bit for bit, port in ports.items() if port in FAST_CLOCKS}

    def hops(self, kind: str, pin: str, bit: int) -> int:
        """0 if the net reaches this pin without the routing between slices: from a LUT to the
        multiplexer, chain or the one flip-flop behind it, along a chain or a cascade."""
        driver = self.driver.get(bit, "")
        lut = is_lut(driver)
        if is_flip_flop(kind) and pin == "D":
            logic = (
                lut or is_wide_mux(driver) or driver.startswith("CARRY") or is_slice_memory(driver)
            )
            return 0 if logic and self.flip_flops[bit] == 1 else 1
        if is_wide_mux(kind):
            return 0 if pin != "S" and (lut or is_wide_mux(driver)) else 1
        if kind.startswith("CARRY"):
            return 0 if lut or (pin == "CI" and driver.startswith("CARRY")) else 1
        return 0 if pin in CASCADES or pin.startswith("CAS") else 1

    def is_fast(self, cell: Cell) -> bool:
        """Whether a cell runs at twice the engine's clock."""
        return any(
            bit in self.fast for pin, bits in cell.pins.items() if is_clock_pin(pin) for bit in bits
        )


def _pipelines(netlist: Netlist) -> tuple[dict[str, int], set[str]]:
    """Flip-flops behind a DSP48E2 that are its MREG and PREG.

    Yosys packs no registers into a DSP48E2, unlike a DSP48E1; Vivado packs those that all used
    bits of P go to and nothing else does (UG901, "DSP Block Inference"). Returns the number of
    such stages by slice, 1 or 2, and the flip-flops of the last one, all by name.
    """
    slices = [c for c in netlist.primitives() if c.kind == "DSP48E2" and not c.parameter("PREG", 1)]
    if not slices:
        return {}, set()
    sinks: dict[Bit, list[tuple[Cell | None, str]]] = defaultdict(list)
    for bits in netlist.outputs.values():
        for bit in bits:
            sinks[bit].append((None, ""))
    for cell in netlist.cells:
        for pin, bits in cell.pins.items():
            if not is_primitive(cell.kind) or not is_output_pin(cell.kind, pin):
                for bit in bits:
                    sinks[bit].append((cell, pin))

    def registers(bits: Iterable[Bit]) -> list[Cell]:
        """The flip-flops that these nets go to; none if one of them goes elsewhere too."""
        found = []
        for bit in bits:
            if not sinks[bit]:
                continue
            (cell, pin), *others = sinks[bit]
            if others or cell is None or pin != "D" or not is_flip_flop(cell.kind):
                return []
            found.append(cell)
        return found

    stages, last = {}, set()
    for cell in slices:
        pipeline = []
        level = registers(cell.pins["P"])
        while level and len(pipeline) < 2:
            pipeline.append(level)
            level = registers(flop.pins["Q"][0] for flop in level)
        if pipeline:
            stages[cell.name] = len(pipeline)
            last |= {flop.name for flop in pipeline[-1]}
    return stages, last
