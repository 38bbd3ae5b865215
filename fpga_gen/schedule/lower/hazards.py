"""`wait` flags: hold an instruction until the results it depends on are in memory.

Instructions read memory in program order, and results leave through one in-order exit path, so
a later write can overtake neither an earlier read nor an earlier write. What remains: a read of
bytes whose write has not drained. Maps that share a plane own different bytes of its words; a
reader ignores the bytes of the others (their weights are 0). A STORE, which runs beside its
successors, waits for earlier results by itself; what it reads is not written again before it has
ended: the results of the network live to its end (see plan.demands), and in front of what
overwrites a band stands a STORE that waits (see spreading).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fpga_gen.contract.isa import EndInstruction, StoreInstruction
from fpga_gen.schedule.lower.lowered import Lowered, Span


def overlap(a: Span, b: Span) -> bool:
    """They have a byte in common."""
    return a[0] < b[1] and b[0] < a[1] and a[2] & b[2] != 0


def with_waits(
    lowered: list[Lowered], before: Sequence[Span] = ()
) -> tuple[list[Lowered], list[Span]]:
    """(a part of the program with `wait` set exactly where the words read may not have drained,
    writes that may not have drained behind it). before: such writes in front of it. END always
    waits."""
    pending = list(before)
    out = []
    for item in lowered:
        instruction = item.instruction
        wait = isinstance(instruction, EndInstruction)
        if not isinstance(instruction, StoreInstruction):
            wait |= any(overlap(r, p) for r in item.reads for p in pending)
        if wait or instruction.ALONE:
            pending = []
        pending += item.writes
        out.append(replace(item, instruction=replace(instruction, wait=int(wait))))
    return out, pending
