"""Rows of the benchmark table, and the table as JSON and Markdown."""

from __future__ import annotations

from dataclasses import asdict, dataclass

KINDS = {
    "simulated": "RTL in Verilator, cycle by cycle",
    "estimated": "cycle model of this engine",
    "bound": "arithmetic: no machine of this size can need less",
    "published": "by the vendor, end to end on the board: not the same thing as simulated cycles",
}


@dataclass(frozen=True)
class Row:
    """One machine on one work.

    kind: of KINDS; multipliers: MACs per cycle, None where it is not published; cycles, dram_bytes:
    per frame; fps: frames per second; macs: of the work; note: whatever else a reader must know;
    date: of the run.
    """

    work: str
    machine: str
    kind: str
    multipliers: int | None = None
    cycles: int | None = None
    dram_bytes: int | None = None
    fps: float | None = None
    macs: int | None = None
    note: str = ""
    date: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r}, not one of {', '.join(KINDS)}")

    @property
    def utilisation(self) -> float | None:
        """Share of the multipliers' slots that do work of the network."""
        if self.cycles is None or self.macs is None or self.multipliers is None:
            return None
        return self.macs / (self.cycles * self.multipliers)


HEAD = (
    "machine", "kind", "MAC/cycle", "cycles", "utilisation", "DRAM bytes", "frame/s", "date",
    "remark",
)  # fmt: skip


def to_dict(row: Row) -> dict:
    """JSON-able form with the utilisation."""
    return {**asdict(row), "utilisation": row.utilisation}


def from_dict(data: dict) -> Row:
    """Inverse of `to_dict`."""
    return Row(**{k: v for k, v in data.items() if k != "utilisation"})


def cells(row: Row) -> tuple[str, ...]:
    """Text under HEAD."""

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    share = row.utilisation
    return (
        row.machine,
        row.kind,
        number(row.multipliers, ","),
        number(row.cycles, ","),
        "-" if share is None else f"{100 * share:.1f} %",
        number(row.dram_bytes, ","),
        number(row.fps, ",.1f"),
        row.date,
        row.note,
    )


def markdown(rows: list[Row]) -> str:
    """One table for each work, in order."""
    parts = []
    for work in dict.fromkeys(row.work for row in rows):
        lines = [f"## {work}", "", "| " + " | ".join(HEAD) + " |"]
        lines.append("|---|---|" + "---:|" * 5 + "---|---|")
        lines += [
            "| " + " | ".join(c.replace("|", "\\|") for c in cells(row)) + " |"
            for row in rows
            if row.work == work
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
