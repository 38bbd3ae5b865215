"""docs/isa.md and docs/registers.md, written from the tables and docstrings of this package:

python -m fpga_gen.contract.docs docs
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path

from fpga_gen.contract import (
    address,
    column_kinds,
    epilogue,
    isa,
    numerics,
    parameter_record,
    slot_layout,
    weight_stream,
)
from fpga_gen.contract.fields import Record, tables_of
from fpga_gen.contract.params import GRANULE
from fpga_gen_host import regions, registers

NOTE = "<!-- Written by `python -m fpga_gen.contract.docs docs`; change fpga_gen/contract. -->"
LIMITS = (
    ("MAX_SOURCES", "sources of a VECTOR"),
    ("MAX_TABLE", "entries of an axis table"),
    ("MAX_SKIP", "words between the left columns of the two pixels of a VECTOR step"),
    ("MAX_LOOKUP", "number of a table"),
    ("MAX_READ_STRIDE", "`stride_x` that several lanes can read at a time"),
)


def prose(thing: object, paragraphs: int | None = None) -> str:
    """The docstring of a module, class or function, or its first paragraphs."""
    text = inspect.getdoc(thing)
    assert text, f"{thing} has no docstring"
    return "\n\n".join(text.split("\n\n")[:paragraphs])


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def field_table(record: type[Record]) -> str:
    """Words, bits and meaning of a record's fields, and the tables that follow it."""
    rows = []
    for f in record.layout():
        place = f"{f.lsb + f.bits - 1}..{f.lsb}" if f.bits > 1 else f.lsb
        kind = "address" if f.address else "signed" if f.signed else ""
        rows.append((f.word, place, f"`{f.name}`", kind, f.doc))
    parts = [markdown_table(("word", "bits", "field", "", "meaning"), rows)]
    for entry in tables_of(record):
        number = f"`{entry.count}` {'words' if entry.record.PER_WORD > 1 else 'records'}"
        without = f", none if `{entry.unless}`" if entry.unless else ""
        parts.append(f"Followed by `{entry.name}`: {number} of {entry.record.__name__}{without}.")
    return "\n\n".join(parts)


def _members(kind: type[IntEnum]) -> str:
    return f"{kind.__name__}: " + ", ".join(f"{int(m)} {m.name}" for m in kind) + "."


def _opcodes() -> str:
    rows = []
    for op, kind in isa.INSTRUCTIONS.items():
        start = "all earlier results are in memory" if kind.ALONE else "`wait` says so"
        if kind.DECODED:
            start = "it is decoded"
        elif kind is isa.StoreInstruction:
            start = "the store unit is free"
        elif kind is isa.EndInstruction:
            start += ", the store unit is free"
        rows.append((int(op), op.name, start))
    return markdown_table(("opcode", "instruction", "starts when"), rows)


def _code_text(kind: column_kinds.ColumnKind) -> str:
    codes = dict.fromkeys(kind.code(sp2) for sp2 in numerics.SP2_CODES.values())
    if len(codes) > 1:
        return "the engine's SP2 code"
    (code,) = codes
    return f"{code.name}: {code.bits} bits, {code.levels[0]} to {code.max_level}"


def _numbers() -> list[str]:
    formats = markdown_table(
        ("format", "bits", "zero", "least", "largest"),
        ((f.name, f.bits, f.zero, f.lo, f.hi) for f in numerics.FORMATS.values()),
    )
    codes = markdown_table(
        ("code", "bits", "first term", "second term", "one sign", "levels"),
        (
            (c.name, c.bits, *(", ".join(map(str, t)) for t in (c.first, c.second)),
             "yes" if c.common_sign else "no", len(c.levels))
            for c in numerics.SP2_CODES.values()
        ),
    )  # fmt: skip
    return [
        "## Numbers",
        prose(numerics.Format),
        formats,
        "### Requantisation",
        prose(numerics.requantise, 2),
        f"Sums have {numerics.ACC_BITS} bits, multipliers {numerics.MULT_BITS}, "
        f"shifts {numerics.SHIFT_BITS}.",
        "### Epilogue",
        prose(epilogue),
        "### SP2 codes",
        prose(numerics.Sp2Code),
        codes,
        "### Kinds of MAC columns",
        "In this order in a slot; weights are coded as",
        markdown_table(
            ("number", "kind", "weights"),
            ((k.number, k.title, _code_text(k)) for k in column_kinds.KINDS),
        ),
    ]


def _instructions() -> list[str]:
    parts = ["## Instructions", _opcodes()]
    for op, kind in isa.INSTRUCTIONS.items():
        parts += [f"### {op.name}", prose(kind)]
        if kind is isa.ConvInstruction:
            parts.append(prose(isa.WalkInstruction))
        if kind is isa.PoolInstruction:
            parts.append("Header and tables are those of CONV.")
        else:
            parts.append(field_table(kind))
        if kind is isa.FetchInstruction:
            parts.append(_members(isa.Region))
        if kind is isa.VectorInstruction:
            parts.append(_members(isa.VectorOp))
    parts.append("## Records")
    for record in (
        isa.BlockRecord, isa.TapRecord, isa.SlotEntry, isa.SourceRecord, isa.AxisEntry,
        isa.ColumnEntry, isa.LookupEntry,
    ):  # fmt: skip
        shared = f" {record.PER_WORD} of them share a word." if record.PER_WORD > 1 else ""
        parts += [f"### {record.__name__}", prose(record) + shared, field_table(record)]
    rows = [(text, getattr(isa, name)) for name, text in LIMITS]
    return [*parts, "## Limits", markdown_table(("what", "at most"), rows)]


def isa_page() -> str:
    """docs/isa.md."""
    parts = [
        "# Program and weight stream",
        NOTE,
        "What a program means, bit for bit. The program interpreter (`fpga_gen/schedule/execute`) "
        "and the RTL (`fpga_gen/hardware`) are two readers of this page. Version of the interface: "
        f"{registers.INTERFACE_VERSION}.",
        "## Order and causality",
        prose(isa),
        "## Addresses",
        prose(address),
        f"A code has the bank in its lowest {address.BANK_BITS} bits, the row in the "
        f"{address.ROW_BITS} above them.",
        *_numbers(),
        *_instructions(),
        "## Weight stream",
        f"A granule has {GRANULE} bits, a beat {regions.BEAT_BYTES} bytes.",
        prose(weight_stream),
        "### Parameters",
        prose(parameter_record),
        field_table(parameter_record.ParameterRecord),
        f"A record takes {parameter_record.PARAM_BITS} bits.",
        "### Heads of groups that skip slots",
        prose(isa.GroupHead),
        field_table(isa.GroupHead),
        "### Weight slots",
        prose(slot_layout),
        "## Regions in DRAM",
        prose(regions),
        prose(regions.InputLayout),
        prose(regions.OutputLayout),
        prose(regions.stripe),
    ]
    return "\n\n".join(parts) + "\n"


def registers_page() -> str:
    """docs/registers.md."""
    version = f"Version of the interface: {registers.INTERFACE_VERSION}."
    parts = ["# Registers", NOTE, prose(registers), version, registers.markdown().rstrip()]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Text of every generated page by file name."""
    return {"isa.md": isa_page(), "registers.md": registers_page()}


def main(arguments: Sequence[str]) -> int:
    """Write the pages into a folder."""
    if len(arguments) != 1:
        print("usage: python -m fpga_gen.contract.docs FOLDER", file=sys.stderr)
        return 2
    for name, text in pages().items():
        (Path(arguments[0]) / name).write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
