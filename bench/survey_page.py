"""What `bench.survey` found, kept in docs/networks.json, and docs/networks.md written from it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.published import DPU

INTRODUCTION = """# Networks that people bring

Written by `make networks`; do not edit. The networks are those of `fpga_gen_models.zoo`, with
random weights; `fpga-gen models export NAME` writes each as ONNX. None of it was run on hardware.

* *check*: what `fpga-gen check` says for the engine of the board's own file, schedule included:
  cycles by the cycle model for one frame at a time, frame/s at the board's clock, utilisation
  (multiply-accumulates of the float network over cycles times multipliers), and what takes most of
  the cycles that are no useful work. `fpga-gen build` may find a better engine.
* *RTL*: cycles of a whole frame of that engine, built, simulated in Verilator and compared with the
  integer reference bit for bit (`make networks NETWORKS_OPTIONS="--rtl NAME"`). A build keeps the
  results of detectors and of small classifiers at 16 bits where `check` counts 8: more cycles.
* *agreement*: signal to noise of the integer reference's first output against onnxruntime's float
  output on a drawn picture, in dB, calibrated on drawn pictures, weights rounded to nearest
  (`--agreement NAME`). Random weights make this a test of the arithmetic, not of accuracy; for the
  same reason no share of right classes is given.
* *DPU*: published by AMD for its engine, frame/s one at a time and with many threads, end to end on
  the board, not simulated cycles (model zoo of Vitis AI 2.5; 2 x B4096 on the ZCU104, 1 x B4096F
  on the KV260). ResNet-18 there is `vehicle_type_resnet18_pt`.
"""
HEAD = (
    "network", "input", "board", "GMAC", "cycles", "frame/s", "utilisation", "largest loss", "RTL",
    "agreement", "DPU", "date",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One network on one board. problem: why it is refused, then the figures are 0; rate: frames
    per second; used: share of the multipliers; loss: what takes most of the rest, with its share;
    rtl: simulated cycles, exact: whether every map was right; sqnr: dB; dates: of check and RTL."""

    network: str
    shape: str
    board: str
    problem: str = ""
    macs: int = 0
    cycles: int = 0
    rate: float = 0.0
    used: float = 0.0
    loss: str = ""
    sqnr: float | None = None
    rtl: int | None = None
    exact: bool | None = None
    date: str = ""
    rtl_date: str = ""


def read_entries(path: Path) -> dict[tuple[str, str], Entry]:
    """{(network, board): what was found last}."""
    if not path.is_file():
        return {}
    found = [Entry(**record) for record in json.loads(path.read_text())]
    return {(entry.network, entry.board): entry for entry in found}


def write_entries(path: Path, entries: dict[tuple[str, str], Entry], order: list[str]) -> None:
    """The record and, beside it, the page. order: of the networks; others are dropped."""
    kept = [e for name in order for e in entries.values() if e.network == name]
    path.write_text(json.dumps([asdict(entry) for entry in kept], indent=1) + "\n")
    lines = [INTRODUCTION, f"| {' | '.join(HEAD)} |", "|---|---|---|" + "---:|" * 4 + "---|" * 5]
    path.with_suffix(".md").write_text("\n".join([*lines, *map(row, kept)]) + "\n")


def renewed(entry: Entry, before: Entry | None) -> Entry:
    """A check's entry with what simulation and comparison found earlier."""
    if before is None or entry.problem:
        return entry
    return replace(
        entry, sqnr=before.sqnr, rtl=before.rtl, exact=before.exact, rtl_date=before.rtl_date
    )


def row(entry: Entry) -> str:
    """One line of the table."""
    head = f"| {entry.network} | {entry.shape} | {entry.board} |"
    if entry.problem:
        return f"{head} | | | | refused: {entry.problem} | | | {_dpu(entry)} | {entry.date} |"
    rtl = "not run"
    if entry.rtl is not None:
        rtl = f"{entry.rtl:,}, {'bit-exact' if entry.exact else 'DIFFERENT'} ({entry.rtl_date})"
    return (
        f"{head} {entry.macs / 1e9:.2f} | {entry.cycles:,} | {entry.rate:,.0f} | "
        f"{100 * entry.used:.0f} % | {entry.loss} | {rtl} | "
        f"{'not run' if entry.sqnr is None else f'{entry.sqnr:.1f}'} | {_dpu(entry)} | "
        f"{entry.date} |"
    )


def _dpu(entry: Entry) -> str:
    published = DPU.get(entry.network)
    rates = published and published.frames.get(entry.board)
    return "-" if rates is None else f"{rates[0]:,.0f}, {rates[1]:,.0f}"
