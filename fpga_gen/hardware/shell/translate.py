"""Transfers of the engine, given by their place in a region, to addresses.

A function, not a component: tools must see the choice of a region and the registers behind it as
one, or the choice becomes gates with more loads than a net may have.
"""

from __future__ import annotations

from amaranth import Module, Signal
from amaranth.hdl import Value

from fpga_gen.contract.isa import width
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.shell.axi_burst import TRANSFER
from fpga_gen.hardware.shell.axi_names import BEAT_ADDRESS_BITS


def translate(
    m: Module,
    name: str,
    source: tuple[Value, Value, Value, Value],
    target,
    *,
    clear: Value,
) -> tuple[Signal, Value]:
    """base + offset, in beats, in two registered stages into `target`, a stream of TRANSFER.

    source: valid, base, offset, length. clear: drops what is in the stages.
    Returns (ready of the source, a register; whether a transfer is in the stages).
    """
    valid, base, offset, length = source
    held = Signal(name=f"{name}_held")
    held_base = Signal(BEAT_ADDRESS_BITS, name=f"{name}_base", reset_less=True)
    held_offset = Signal(width("offset"), name=f"{name}_offset", reset_less=True)
    held_length = Signal(width("words"), name=f"{name}_length", reset_less=True)
    summed = Signal(TRANSFER, name=f"{name}_sum", reset_less=True)
    summed_valid = Signal(name=f"{name}_sum_valid")
    # Copies, so that the enables of wide registers are gates of their own.
    held_data = Signal(name=f"{name}_held_data", attrs=KEEP)
    summed_data = Signal(name=f"{name}_sum_data", attrs=KEEP)
    advance = Signal(name=f"{name}_advance")
    ready = Signal(name=f"{name}_ready")
    m.d.comb += [
        advance.eq(~summed_valid | target.ready),
        ready.eq(~held),  # who asks waits for a register only
        target.valid.eq(summed_valid),
        target.payload.eq(summed),
    ]
    with m.If(advance):
        m.d.sync += [summed_valid.eq(held), summed_data.eq(held)]
    with m.If(~summed_data | target.ready):
        m.d.sync += [summed.address.eq(held_base + held_offset), summed.beats.eq(held_length)]
    with m.If(ready):
        m.d.sync += [held.eq(valid), held_data.eq(valid), held_base.eq(base)]
    with m.Elif(advance):
        m.d.sync += [held.eq(0), held_data.eq(0)]
    with m.If(~held_data):
        m.d.sync += [held_offset.eq(offset), held_length.eq(length)]
    with m.If(clear):
        m.d.sync += [s.eq(0) for s in (held, held_data, summed_valid, summed_data)]
    return ready, held | summed_valid
