"""Stable text form of a schedule, for golden files and for reading. Addresses are linear words."""

from __future__ import annotations

import hashlib

from fpga_gen.contract.address import unpack_address
from fpga_gen.contract.fields import Record, tables_of
from fpga_gen.contract.isa import Instruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.program import Schedule


def _record(record: Record, params: EngineParams) -> str:
    parts = []
    for field in record.layout():
        value = getattr(record, field.name)
        if field.name == "op" or not value:
            continue
        if field.address:
            value = unpack_address(value, params.banks)
        parts.append(f"{field.name}={value}")
    return " ".join(parts)


def instruction_text(instruction: Instruction, params: EngineParams) -> str:
    """One line for the header (fields that are 0 are left out), one for every table record."""
    header = _record(instruction, params)
    lines = [" ".join(filter(None, (instruction.op.name.lower(), instruction.layer, header)))]
    for table in tables_of(type(instruction)):
        records = getattr(instruction, table.name)
        name = table.name.removesuffix("s")  # blocks: "block"
        lines += [f"  {name} {_record(record, params)}".rstrip() for record in records]
    return "\n".join(lines)


def schedule_text(schedule: Schedule) -> str:
    """Facts, map placements and instructions; regions appear as length and SHA-256."""
    s, e = schedule, schedule.estimate
    lines = [
        f"schedule {s.name}",
        f"memory peak={s.memory.peak_words} live={s.memory.live_words} "
        f"of={s.memory.capacity_words} at={s.memory.at}",
        f"estimate cycles={e.cycles} macs={e.macs} read={e.read_bytes} write={e.write_bytes} "
        f"lower_bound={e.lower_bound_bytes}",
    ]
    for name, region in (("program", s.program), ("weights", s.weights)):
        lines.append(f"{name} bytes={len(region)} sha256={hashlib.sha256(region).hexdigest()}")
    for point in s.trace:
        place, layout = point.placement, point.placement.layout
        lines.append(
            f"map {layout.tensor} after={point.after} base={place.base} plane={layout.plane} "
            f"byte={layout.byte_offset} low={layout.low} rows={place.first_row}+{layout.height}"
        )
    for index, instruction in enumerate(s.instructions):
        lines.append(f"{index}: {instruction_text(instruction, s.params)}")
    return "\n".join(lines) + "\n"
