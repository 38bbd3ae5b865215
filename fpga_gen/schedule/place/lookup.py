"""Tables of activations: which of the engine's few tables holds which, and when it is filled.

A TABLE stands in front of the first instruction that needs it, in the place of the table that was
used longest ago; of the last IN_FLIGHT writers, whose results may be under way, none uses it,
because there are more tables than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fpga_gen.contract.isa import (
    IN_FLIGHT,
    MAX_LOOKUP,
    TABLE_WORDS,
    ConvInstruction,
    TableInstruction,
    VectorInstruction,
)
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import LookupEntry
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.lower.lowered import NO_STREAM, Lowered

assert MAX_LOOKUP > IN_FLIGHT

Resident = dict[int, tuple[int, ...]]  # entries of the tables, the one used longest ago first


def with_tables(
    body: Sequence[Lowered], params: EngineParams, before: Resident | None = None
) -> tuple[list[Lowered], Resident]:
    """(a part of the program with its TABLEs and the numbers of tables, what they hold then).
    before: what they hold in front of it, None at the beginning."""
    resident: dict[int, tuple[int, ...]] = {n: () for n in range(1, MAX_LOOKUP + 1)}
    if before is not None:
        resident = dict(before)
    out: list[Lowered] = []
    for item in body:
        instruction = item.instruction
        if isinstance(instruction, ConvInstruction | VectorInstruction) and instruction.curve:
            curve = instruction.curve
            if not params.activations:
                raise ScheduleError(
                    f"layer '{instruction.layer}' has an activation that needs a table: use an "
                    "engine with `activations`"
                )
            number = next((n for n, known in resident.items() if known == curve), 0)
            if not number:
                number = next(iter(resident))
                entries = tuple(LookupEntry(stored) for stored in curve)
                table = TableInstruction(
                    lookup=number, entry_words=TABLE_WORDS, entries=entries,
                    layer=instruction.layer,
                )  # fmt: skip
                out.append(Lowered(table, NO_STREAM, (), ()))
            resident.pop(number)
            resident[number] = curve
            item = replace(item, instruction=replace(instruction, lookup=number))
        out.append(item)
    return out, resident
