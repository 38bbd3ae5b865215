"""Combinational arcs, sources and ends of the cells of one mapped module.

An arc is (input bit, output bit, levels, entry): arrival(out) = arrival(in) + levels, where the
arrival is rounded up to whole levels first unless the bit stays inside a carry chain. `entry`
marks where a carry chain is entered: without a LUT in front the slice's own LUT is passed through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fpga_gen.synth.cells import (
    CARRY_BITS_PER_LEVEL,
    LUT_MEMORY,
    SHIFT_REGISTERS,
    UNREGISTERED,
    is_flip_flop,
    is_hard_block,
    is_lut,
    is_wide_mux,
)
from fpga_gen.synth.netlist import Bit, Cell, Netlist, is_clock_pin, is_output_pin

FABRIC, ENTRY, CHAIN = range(3)  # how an arc's input arrives


@dataclass(frozen=True)
class Arc:
    source: int
    target: int
    levels: float
    way: int = FABRIC


@dataclass(frozen=True)
class Start:
    """A bit that a register drives after `levels` levels inside its hard block."""

    bit: int
    levels: int
    name: str


@dataclass(frozen=True)
class End:
    """A pin that a register takes, `levels` levels inside its hard block."""

    bit: int
    levels: int
    name: str


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


def cell_items(netlist: Netlist, cell: Cell, lut_driven: frozenset[int]) -> Iterator[Item]:
    """Arcs, starts and ends of one primitive."""
    kind = cell.kind
    inputs, outputs = _split(cell)
    if is_lut(kind) or is_wide_mux(kind):
        for _, _, out in outputs:
            for _, _, bit in inputs:
                yield Arc(bit, out, 1 if is_lut(kind) else 0)
    elif kind.startswith("CARRY"):
        yield from _carry(cell, lut_driven)
    elif kind in LUT_MEMORY or kind in SHIFT_REGISTERS:
        yield from _slice_memory(netlist, cell, inputs, outputs)
    elif kind.startswith("DSP48"):
        yield from _dsp(netlist, cell, inputs, outputs)
    else:
        assert is_flip_flop(kind) or is_hard_block(kind), kind
        name = netlist.name_of(outputs[0][2]) if outputs else cell.name
        for pin, _, bit in outputs:
            yield Start(bit, 0 if is_flip_flop(kind) else _ram_output(cell, pin), _own(name, cell))
        for _, _, bit in inputs:
            yield End(bit, 0, _own(name, cell))


def _own(name: str, cell: Cell) -> str:
    """The name of a register; hard blocks and memories also tell what they are."""
    return name if is_flip_flop(cell.kind) else f"{name} ({cell.kind})"


def _ram_output(cell: Cell, pin: str) -> int:
    """Levels of a block memory's output: none behind its output register."""
    side = "B" if re.match(r"DOUT?_?B|DOUTP?B|DOBDO|DOPB", pin) else "A"
    names = (f"DO{side}_REG", f"OREG_{side}")
    registered = any(cell.parameter(n) if _is_number(cell, n) else 0 for n in names)
    return 0 if registered else UNREGISTERED


def _is_number(cell: Cell, name: str) -> bool:
    return bool(re.fullmatch(r"[01]+", str(cell.parameters.get(name, ""))))


def _carry(cell: Cell, lut_driven: frozenset[int]) -> Iterator[Arc]:
    """A chain's inputs reach every sum and carry above them."""
    width = len(cell.pins["S"])

    def exits(first: int, own_carry: bool, own_sum: bool) -> Iterator[tuple[int, float]]:
        for pin, own in (("O", own_sum), ("CO", own_carry)):
            for index, out in _nets(cell.pins.get(pin, ())):
                if index > first or (index == first and own):
                    yield out, (index - max(first, 0) + 1) / CARRY_BITS_PER_LEVEL

    for pin in ("S", "DI"):
        for index, bit in _nets(cell.pins[pin]):
            for out, levels in exits(index, True, pin == "S"):
                yield Arc(bit, out, levels + (bit not in lut_driven), ENTRY)
    for _, bit in _nets(cell.pins.get("CI", ())[:1]):
        for out, levels in exits(-1, True, True):
            yield Arc(bit, out, levels, CHAIN)
    for _, bit in _nets(cell.pins.get("CYINIT", ())):
        for out, levels in exits(-1, True, True):
            yield Arc(bit, out, levels + (bit not in lut_driven), ENTRY)
    assert width in (4, 8)


def _slice_memory(netlist: Netlist, cell: Cell, inputs, outputs) -> Iterator[Item]:
    """LUT memory and shift registers: the read address is a LUT's input, the rest is clocked."""
    name = _own(netlist.name_of(outputs[0][2]) if outputs else cell.name, cell)
    for _, _, out in outputs:
        yield Start(out, 1, name)
    for pin, _, bit in inputs:
        read = re.fullmatch(r"ADDR([A-H])|A\d?|DPRA\d?", pin)
        if not read:
            yield End(bit, 0, name)
            continue
        for out_pin, _, out in outputs:
            if _reads(pin, read[1], out_pin):
                yield Arc(bit, out, 1)
        yield End(bit, 0, name)  # the write address, or a register in front of the decoder


def _reads(pin: str, letter: str | None, output: str) -> bool:
    """Whether an address pin of a LUT memory selects what an output shows."""
    if letter:
        return output == f"DO{letter}"
    if pin.startswith("DPRA"):
        return output == "DPO"
    return output in ("SPO", "O", "Q")


def _dsp(netlist: Netlist, cell: Cell, inputs, outputs) -> Iterator[Item]:
    """Multiplier and adder count `UNREGISTERED` levels each where no register separates them."""
    name = _own(netlist.name_of(outputs[0][2]) if outputs else cell.name, cell)
    product, result = cell.parameter("MREG", 1), cell.parameter("PREG", 1)
    registered = {
        "A": cell.parameter("AREG", 1) > 0,
        "B": cell.parameter("BREG", 1) > 0,
        "C": cell.parameter("CREG", 1) > 0,
        "D": cell.parameter("DREG", 1) > 0,
        "PCIN": False,
    }
    for pin, _, bit in inputs:
        if registered.get(pin, True):
            yield End(bit, 0, name)
            continue
        levels = UNREGISTERED
        if pin in ("A", "B", "D"):
            if product:
                yield End(bit, levels, name)
                continue
            levels += UNREGISTERED
        if result:
            yield End(bit, levels, name)
        else:
            for _, _, out in outputs:
                yield Arc(bit, out, levels)
    inside = 0 if result else UNREGISTERED * (1 if product else 2)
    for _, _, out in outputs:
        yield Start(out, inside, name)
