"""Vivado's text reports -> figures: utilisation, timing summary, power (UG906, UG907)."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from fpga_gen.boards import Resources
from fpga_gen.contract.modules import TOP, class_of
from fpga_gen.errors import ToolError
from fpga_gen.report.implementation import Implementation, SlackFacts

UTILISATION, TIMING, POWER, FACTS = "utilisation.rpt", "timing.rpt", "power.rpt", "facts.txt"
REPORTS = (UTILISATION, TIMING, POWER, FACTS)
# Site types of report_utilization: UltraScale+ first, then 7 series.
SITES = {
    "luts": ("CLB LUTs", "Slice LUTs"),
    "flip_flops": ("CLB Registers", "Slice Registers"),
    "dsps": ("DSPs",),
    "bram36": ("Block RAM Tile",),
    "uram": ("URAM",),
}
OPTIONAL_SITES = ("uram",)  # 7 series and the smaller UltraScale+ parts have no such row
FAILING = re.compile(  # one path of a timing summary (UG906)
    r"^Slack \(VIOLATED\)\s*:\s*(?P<slack>-[\d.]+)ns.*?^\s+Source:\s+(?P<source>\S+).*?"
    r"^\s+Destination:\s+(?P<target>\S+).*?^\s+Path Type:\s+(?P<type>\w+)",
    re.MULTILINE | re.DOTALL,
)
TIMING_HEAD = re.compile(r"^[ \t]*WNS\(ns\)\s+TNS\(ns\)\s", re.MULTILINE)


def _fail(path: Path, what: str) -> ToolError:
    return ToolError("vivado", f"{path.name} holds no {what}: unknown report format", path)


def _rows(text: str) -> list[list[str]]:
    """Cells of all table rows."""
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.lstrip().startswith("|")
    ]


def parse_utilisation(path: Path) -> tuple[Resources, Resources]:
    """(used, available) of the whole design. Half BRAM36 (one RAMB18) count as a whole one."""
    used: dict[str, int] = {}
    available: dict[str, int] = {}
    head: list[str] = []
    for row in _rows(path.read_text()):
        if row[0] == "Site Type":
            head = row
        for name, sites in SITES.items():
            # Newer versions mark some names with a star, and each site is counted only once.
            if row[0].rstrip("*") in sites and name not in used and len(row) == len(head):
                try:
                    used[name] = -int(-float(row[head.index("Used")]) // 1)
                    available[name] = int(row[head.index("Available")])
                except ValueError as error:
                    raise _fail(path, f"number for {row[0]}") from error
    for name in SITES:
        if name not in used:
            if name not in OPTIONAL_SITES:
                raise _fail(path, f"row {SITES[name][0]!r}")
            used[name] = available[name] = 0
    return Resources(**used), Resources(**available)


def parse_timing(path: Path) -> SlackFacts:
    """Worst setup and hold slack of the design timing summary."""
    text = path.read_text()
    match = TIMING_HEAD.search(text)
    lines = text[match.start() :].splitlines() if match else []
    if len(lines) < 3:
        raise _fail(path, "design timing summary")
    names = re.split(r"\s{2,}", lines[0].strip())
    values = lines[2].split()
    found = dict(zip(names, values, strict=False))
    try:
        return SlackFacts(
            setup_slack_ns=float(found["WNS(ns)"]),
            setup_total_ns=float(found["TNS(ns)"]),
            failing_endpoints=int(found["TNS Failing Endpoints"]),
            hold_slack_ns=float(found["WHS(ns)"]),
        )
    except (KeyError, ValueError) as error:
        raise _fail(path, "worst slack") from error


def worst_path(path: Path) -> tuple[str, str] | None:
    """(source, destination) of the setup path that misses its time by the most, as the timing
    summary names pins; None if it lists none."""
    found = [
        (float(match["slack"]), match["source"], match["target"])
        for match in FAILING.finditer(path.read_text())
        if match["type"] == "Setup"
    ]
    return min(found)[1:] if found else None


def block_of_pin(name: str) -> str | None:
    """Class of the block that holds a pin of the implemented design, None outside of the engine."""
    parts = re.split(r"/+", name)
    for start in range(len(parts)):
        for end in range(len(parts) - 1, start, -1):
            module = ".".join((TOP, *parts[start:end]))
            with suppress(KeyError):
                return class_of(module)
    return None


def parse_power(path: Path) -> tuple[float, float, float]:
    """Watts (total, dynamic, static). Vivado's estimate, without switching activity."""
    titles = ("Total On-Chip Power (W)", "Dynamic (W)", "Device Static (W)")
    try:
        found = {
            row[0]: float(row[1])
            for row in _rows(path.read_text())
            if len(row) == 2 and row[0] in titles
        }
    except ValueError as error:
        raise _fail(path, "number of watts") from error
    for title in titles:
        if title not in found:
            raise _fail(path, f"row {title!r}")
    total, dynamic, static = (found[title] for title in titles)
    return total, dynamic, static


def parse_facts(path: Path) -> dict[str, str]:
    """`name value` lines that build.tcl writes."""
    found = dict(line.split(maxsplit=1) for line in path.read_text().splitlines() if " " in line)
    if not {"vivado", "clock_hz"} <= set(found) or not found["clock_hz"].isdecimal():
        raise _fail(path, "version and clock")
    return found


def read_reports(folder: Path) -> Implementation:
    """Figures of the reports in `folder`.

    Raises:
        ToolError: names the report that is missing or cannot be understood.
    """
    for name in REPORTS:
        if not (folder / name).is_file():
            raise ToolError("vivado", f"wrote no {name}", folder / name)
    facts = parse_facts(folder / FACTS)
    used, available = parse_utilisation(folder / UTILISATION)
    total, dynamic, static = parse_power(folder / POWER)
    return Implementation(
        tool=f"Vivado {facts['vivado']}",
        clock_mhz=round(int(facts["clock_hz"]) / 1e6, 6),
        used=used,
        available=available,
        timing=parse_timing(folder / TIMING),
        total_w=total,
        dynamic_w=dynamic,
        static_w=static,
    )
