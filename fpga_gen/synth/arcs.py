"""Combinational arcs, sources and ends of the cells of one mapped module.

An arc is (input bit, output bit, levels, entry): arrival(out) = arrival(in) + levels, where the
arrival is rounded up to whole levels first unless the bit stays inside a carry chain. `entry`
marks where a carry chain is entered: without a LUT in front the slice's own LUT is passed through.

Beside the levels every item has its delay in picoseconds and says whether the net in front of it is
a hop: a connection that stays in its slice or column of hard blocks is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fpga_gen.synth.cells import (
    CARRY_BITS_PER_LEVEL,
    SHIFT_REGISTERS,
    UNREGISTERED,
    is_flip_flop,
    is_hard_block,
    is_lut,
    is_slice_memory,
    is_wide_mux,
)
from fpga_gen.synth.delays import Delays
from fpga_gen.synth.netlist import Bit, Cell, Netlist, is_clock_pin, is_output_pin
from fpga_gen.synth.nets import Nets

FABRIC, ENTRY, CHAIN = range(3)  # how an arc's input arrives
CONTROL_PINS = ("CE", "R", "S", "CLR", "PRE")
# Fast cycles that a path from the engine's clock to the fast one has, where the exceptions of
# deploy/tcl/double_clock.xdc give it more than one: by pin of a slice, by register.
FAST_CYCLES = {"B": 2, "A": 3, "D": 3, "tap0": 2}


@dataclass(frozen=True)
class Arc:
    """delays: (picoseconds in cells, hops) from the source to the target, the net at the source
    included; through a module there may be several that are the longest at some hop delay."""

    source: int
    target: int
    levels: float
    way: int = FABRIC
    delays: tuple[tuple[int, int], ...] = ((0, 0),)


@dataclass(frozen=True)
class Start:
    """A bit that a register drives after `levels` levels and `ps` picoseconds inside its hard
    block. fast: of the clock of twice the engine's."""

    bit: int
    levels: int
    name: str
    ps: int = 0
    hops: int = 0
    fast: bool = False

    def placed(self, bit: int, label: str) -> Start:
        """The same of a module that is called `label` where it is placed."""
        return replace(self, bit=bit, name=f"{label}.{self.name}")


@dataclass(frozen=True)
class End:
    """A pin that a register takes, `levels` levels and `ps` picoseconds inside its hard block.
    fast: of the clock of twice the engine's; cycles: of that clock for a path from the other."""

    bit: int
    levels: int
    name: str
    ps: int = 0
    hops: int = 1
    fast: bool = False
    cycles: int = 1

    def placed(self, bit: int, label: str) -> End:
        """The same of a module that is called `label` where it is placed."""
        return replace(self, bit=bit, name=f"{label}.{self.name}")


Item = Arc | Start | End


def _nets(bits: tuple[Bit, ...]) -> list[tuple[int, int]]:
    """(index, net) of the bits that are no constants."""
    return [(i, bit) for i, bit in enumerate(bits) if isinstance(bit, int)]


def _split(cell: Cell) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
    """(input bits, output bits) of a primitive as (pin, index, net), clocks left out."""
    inputs, outputs = [], []
    for pin, bits in cell.pins.items():
        if is_clock_pin(pin) and not is_lut(cell.kind):
            continue
        side = outputs if is_output_pin(cell.kind, pin) else inputs
        side += [(pin, i, bit) for i, bit in _nets(bits)]
    return inputs, outputs


def cell_items(netlist: Netlist, cell: Cell, nets: Nets, delays: Delays) -> Iterator[Item]:
    """Arcs, starts and ends of one primitive."""
    kind = cell.kind
    inputs, outputs = _split(cell)
    if is_lut(kind) or is_wide_mux(kind):
        levels, ps = (1, delays.lut) if is_lut(kind) else (0, delays.mux)
        for _, _, out in outputs:
            for pin, _, bit in inputs:
                yield Arc(bit, out, levels, delays=((ps, nets.hops(kind, pin, bit)),))
    elif kind.startswith("CARRY"):
        yield from _carry(cell, nets, delays)
    elif is_slice_memory(kind):
        yield from _slice_memory(netlist, cell, inputs, outputs, delays)
    elif kind.startswith("DSP48"):
        yield from _dsp(netlist, cell, inputs, outputs, nets, delays)
    else:
        yield from _register(netlist, cell, inputs, outputs, nets, delays)


def _register(netlist: Netlist, cell: Cell, inputs, outputs, nets: Nets, d: Delays):
    """Flip-flops, block RAM and UltraRAM."""
    kind = cell.kind
    assert is_flip_flop(kind) or is_hard_block(kind), kind
    name = _own(netlist.name_of(outputs[0][2]) if outputs else cell.name, cell)
    fast = nets.is_fast(cell)
    for pin, _, bit in outputs:
        if is_flip_flop(kind):
            ps = d.dsp_out if cell.name in nets.behind else d.ff_out
            yield Start(bit, 0, name, ps, fast=fast)
            continue
        registered = _registered(cell, pin)
        side = "uram" if kind.startswith("URAM") else "bram"
        ps = getattr(d, f"{side}_out_registered" if registered else f"{side}_out")
        yield Start(bit, 0 if registered else UNREGISTERED, name, ps, fast=fast)
    cycles = FAST_CYCLES.get(re.sub(r"\[\d+\]$", "", name), 1)
    for pin, _, bit in inputs:
        hops = nets.hops(kind, pin, bit)
        yield End(bit, 0, name, _set_up(kind, pin, d), hops, fast, cycles)


def _set_up(kind: str, pin: str, d: Delays) -> int:
    """Of a pin of a flip-flop or memory."""
    if is_flip_flop(kind):
        return d.ff_control if pin in CONTROL_PINS else d.ff_data
    if kind.startswith("URAM"):
        data = pin.startswith(("DIN", "CAS_IN"))
        return d.uram_address if pin.startswith("ADDR") else d.uram_data if data else d.uram_control
    data = pin.startswith(("DI", "CASD"))
    return d.bram_address if pin.startswith("ADDR") else d.bram_data if data else d.bram_control


def _own(name: str, cell: Cell) -> str:
    """The name of a register; hard blocks and memories also tell what they are."""
    return name if is_flip_flop(cell.kind) else f"{name} ({cell.kind})"


def _registered(cell: Cell, pin: str) -> bool:
    """Whether a block memory's output has its register."""
    side = "B" if re.match(r"DOUT?_?B|DOUTP?B|DOBDO|DOPB", pin) else "A"
    names = (f"DO{side}_REG", f"OREG_{side}")
    return any(cell.parameter(n) if _is_number(cell, n) else 0 for n in names)


def _is_number(cell: Cell, name: str) -> bool:
    return bool(re.fullmatch(r"[01]+", str(cell.parameters.get(name, ""))))


def _carry(cell: Cell, nets: Nets, d: Delays) -> Iterator[Arc]:
    """A chain's inputs reach every sum and carry above them."""
    width = len(cell.pins["S"])
    assert width in (4, 8)

    def exits(first: int, own_carry: bool, own_sum: bool) -> Iterator[tuple[int, float, int]]:
        for pin, own in (("O", own_sum), ("CO", own_carry)):
            for index, out in _nets(cell.pins.get(pin, ())):
                if index > first or (index == first and own):
                    bits = index - max(first, 0) + 1
                    leaves = pin == "O" or index < width - 1  # the top carry goes to the next chain
                    yield (
                        out,
                        bits / CARRY_BITS_PER_LEVEL,
                        bits * d.carry_bit + leaves * d.carry_out,
                    )

    for pin in ("S", "DI", "CYINIT"):
        for index, bit in _nets(cell.pins.get(pin, ())):
            through = 0 if is_lut(nets.driver.get(bit, "")) else 1  # the LUT in front, passed
            first, own_sum = (-1, True) if pin == "CYINIT" else (index, pin == "S")
            ps = d.carry_in + through * d.lut
            for out, levels, more in exits(first, True, own_sum):
                yield Arc(bit, out, levels + through, ENTRY, ((ps + more, through),))
    for _, bit in _nets(cell.pins.get("CI", ())[:1]):
        hops = nets.hops(cell.kind, "CI", bit)
        for out, levels, more in exits(-1, True, True):
            yield Arc(bit, out, levels, CHAIN, ((more, hops),))


def _slice_memory(netlist: Netlist, cell: Cell, inputs, outputs, d: Delays) -> Iterator[Item]:
    """LUT memory and shift registers: the read address is a LUT's input, the rest is clocked."""
    name = _own(netlist.name_of(outputs[0][2]) if outputs else cell.name, cell)
    out_ps = d.shift_out if cell.kind in SHIFT_REGISTERS else d.lutram_out
    for _, _, out in outputs:
        yield Start(out, 1, name, out_ps)
    for pin, _, bit in inputs:
        read = re.fullmatch(r"ADDR([A-H])|A\d?|DPRA\d?", pin)
        # Also of a read address: the write address, or a register in front of the decoder.
        yield End(bit, 0, name, d.lutram_write)
        for out_pin, _, out in outputs:
            if read and _reads(pin, read[1], out_pin):
                yield Arc(bit, out, 1, delays=((d.lut, 1),))


def _reads(pin: str, letter: str | None, output: str) -> bool:
    """Whether an address pin of a LUT memory selects what an output shows."""
    if letter:
        return output == f"DO{letter}"
    if pin.startswith("DPRA"):
        return output == "DPO"
    return output in ("SPO", "O", "Q")


def _dsp(netlist: Netlist, cell: Cell, inputs, outputs, nets: Nets, d: Delays) -> Iterator[Item]:
    """Multiplier and adder count `UNREGISTERED` levels each where no register separates them."""
    name = _own(netlist.name_of(outputs[0][2]) if outputs else cell.name, cell)
    fast = nets.is_fast(cell)
    stages = nets.stages.get(cell.name, 0)
    product = cell.parameter("MREG", 1) or stages == 2
    result = cell.parameter("PREG", 1) or stages
    registered = {
        "A": cell.parameter("AREG", 1) > 0,
        "B": cell.parameter("BREG", 1) > 0,
        "C": cell.parameter("CREG", 1) > 0,
        "D": cell.parameter("DREG", 1) > 0,
        "PCIN": False,
    }
    for pin, _, bit in inputs:
        hops = nets.hops(cell.kind, pin, bit)
        if registered.get(pin, True):
            ps = d.dsp_in if pin in registered else d.dsp_control
            yield End(bit, 0, name, ps, hops, fast, FAST_CYCLES.get(pin, 1))
            continue
        levels, ps = UNREGISTERED, d.dsp_in_add
        if pin in ("A", "B", "D"):
            if product:
                yield End(bit, levels, name, d.dsp_in_product, hops, fast)
                continue
            levels, ps = 2 * UNREGISTERED, d.dsp_in_sum
        if result:
            yield End(bit, levels, name, ps, hops, fast)
        else:
            for _, _, out in outputs:
                yield Arc(bit, out, levels, delays=((d.dsp_through, hops),))
    if stages:
        return  # the flip-flops behind it are its starts
    inside = 0 if result else UNREGISTERED * (1 if product else 2)
    ps = d.dsp_out if result else d.dsp_out_product if product else d.dsp_out_operand
    for _, _, out in outputs:
        yield Start(out, inside, name, ps, fast=fast)
