"""`make pnr` places and routes blocks of a 7-series engine with nextpnr, out of context, and writes
docs/place-and-route.md. Without the tool and its chip database it says so in one line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fpga_gen.boards import load_board
from fpga_gen.contract.modules import TOP
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ToolError
from fpga_gen.hardware.top import generate_verilog
from fpga_gen.synth.modules import Hierarchy, split_modules
from fpga_gen.synth.yosys import program as yosys

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "place-and-route.md"
PROGRAM, DATABASE = "nextpnr-himbaechel", "FPGA_GEN_CHIPDB"
BOARD, CLOCK_MHZ, SEED = "pynq-z2", 150, 1
WRAPPER = "out_of_context"
PINS = {"clk": "H16", "bit_in": "D19", "bit_out": "R14"}  # of the PYNQ-Z2: any would do
# Blocks with all that they place, by the end of their module's name; the engine is a smaller one.
BLOCKS = (
    "mac_dsp_pair", "mac_sp2_column", "mac_weights", "fpga_gen_requantise", "fpga_gen_maxpool",
    "engine.exit", "engine.exit.steps", "engine.exit.pack", "engine.walker.records",
    "engine.walker.beats", "engine.masks", "engine.loader.control", "engine.vector.walk",
    "engine.sequencer.decoder", "shell.read.port0", "shell.write",
)  # fmt: skip
SMALL = {"pixels": 1, "dsp_columns": 2, "sp2_columns": 2, "modes": (1,), "ports": 1}
INTRODUCTION = f"""# Place and route

Written by `make pnr`; do not edit. Blocks of the {BOARD} engine, and a small engine as a whole,
placed and routed by [nextpnr](https://github.com/YosysHQ/nextpnr) (`{PROGRAM}`, micro-architecture
xilinx) behind Yosys. Its own page says how it is installed; `make pnr` runs where the program is on
PATH and `{DATABASE}` names the chip database of the part. No board is involved: **not run on
hardware**.

* Every block is alone on the device, between registers: wires to other blocks, and the congestion
  that they make, are missing. The clock is ideal: no skew, no uncertainty, no jitter.
* Delays are those of the chip database for its slow corner, one seed, no search among several.
* UltraScale+ has no such open database: its engines have the estimate in picoseconds a net hop
  (docs/decisions/0026) and nothing else.
"""
NOT_RUN = "\nNot measured yet: the tool was not at hand where this page was written.\n"


@dataclass(frozen=True)
class Routed:
    """A block that was routed. mhz: of its clock; start, end: cells of the worst path; logic_ns,
    wires_ns: its parts; used: sites by kind."""

    name: str
    mhz: float
    start: str
    end: str
    logic_ns: float
    wires_ns: float
    used: Mapping[str, int]


def missing(environment: Mapping[str, str]) -> str | None:
    """What there is not, as one line; None: the tool can run."""
    if not shutil.which(PROGRAM, path=environment.get("PATH")):
        return f"pnr: skipped, {PROGRAM} is not on PATH (docs/place-and-route.md)"
    if not environment.get(DATABASE):
        return f"pnr: skipped, {DATABASE} does not name a chip database (docs/place-and-route.md)"
    if not Path(environment[DATABASE]).is_file():
        return f"pnr: skipped, {environment[DATABASE]}, which {DATABASE} names, is no file"
    return None


def ports_of(text: str) -> dict[str, tuple[str, int]]:
    """{port: ("input" or "output", bits)} of the Verilog of one module."""
    found = re.finditer(
        r"^\s*(input|output)\s+(?:wire\s+|reg\s+)?(?:\[(\d+):0\]\s*)?(\\\S+|\w+)", text, re.M
    )
    return {name: (way, int(high or 0) + 1) for way, high, name in (m.groups() for m in found)}


def wrapped(module: str, ports: Mapping[str, tuple[str, int]]) -> str:
    """Verilog of a top that shifts all inputs of a module in through one pin, registers all its
    outputs and shifts their parities out through another: three pins, and registers around."""
    clocks = [name for name, (way, _) in ports.items() if way == "input" and "clk" in name]
    inputs = {n: b for n, (way, b) in ports.items() if way == "input" and n not in clocks}
    outputs = {n: b for n, (way, b) in ports.items() if way == "output"}
    ins, outs = max(sum(inputs.values()), 1), max(sum(outputs.values()), 1)
    pins, at = [f".{name} (clk)" for name in clocks], 0
    for name, bits in inputs.items():
        pins.append(f".{name} (shifted[{at + bits - 1}:{at}])")
        at += bits
    at = 0
    for name, bits in outputs.items():
        pins.append(f".{name} (raw[{at + bits - 1}:{at}])")
        at += bits
    spelt = module if re.fullmatch(r"\w+", module) else f"\\{module} "
    joined = ",\n    ".join(pins)
    return f"""\
module {WRAPPER} (input clk, input bit_in, output reg bit_out);
  reg [{ins - 1}:0] shifted;
  wire [{outs - 1}:0] raw;
  reg [{outs - 1}:0] taken, parity;
  always @(posedge clk) begin
    shifted <= {{shifted, bit_in}};
    taken <= raw;
    parity <= taken ^ {{parity, 1'b0}};
    bit_out <= parity[{outs - 1}];
  end
  {spelt} dut (
    {joined}
  );
endmodule
"""


def with_children(hierarchy: Hierarchy, module: str) -> str:
    """Verilog of a module and of all that it places."""
    wanted, work = {module}, [module]
    while work:
        children = set(hierarchy.modules[work.pop()].children) - wanted
        wanted |= children
        work += children
    return "\n\n".join(m.text for n, m in hierarchy.modules.items() if n in wanted)


def constraints() -> str:
    """The three pins, for the tool's reader of XDC."""
    return "".join(
        f"set_property LOC {pin} [get_ports {name}]\n"
        f"set_property IOSTANDARD LVCMOS33 [get_ports {name}]\n"
        for name, pin in PINS.items()
    )


def synthesise(text: str, folder: Path) -> None:
    """The wrapper and what is in it, mapped and flattened, as folder/design.json."""
    (folder / "design.v").write_text(text)
    script = (
        f"read_verilog design.v; synth_xilinx -family xc7 -flatten -top {WRAPPER}; "
        "write_json design.json"
    )
    run([yosys(), "-q", "-l", "yosys.log", "-p", script], folder)


def place_and_route(program: str, part: str, database: str, folder: Path) -> dict:
    """The tool's report of folder/design.json."""
    (folder / "pins.xdc").write_text(constraints())
    command = [program, "--device", part, "--chipdb", database, "--json", "design.json",
               "--report", "report.json", "--freq", str(CLOCK_MHZ), "--seed", str(SEED),
               "--timing-allow-fail", "--vopt", "xdc=pins.xdc", "--quiet"]  # fmt: skip
    run(command, folder)
    return json.loads((folder / "report.json").read_text())


def run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["ended without a word"]
        raise ToolError(Path(command[0]).name, lines[-1])


def parse_report(name: str, report: dict) -> Routed:
    """What the tool's JSON report says of the clock and of the worst path between two edges of it.

    Raises:
        ToolError: the report has no clock, or none of its paths.
    """
    clocks: dict[str, dict] = report.get("fmax", {})
    paths = [
        p for p in report.get("critical_paths", []) if p["path"] and p["from"] == p["to"]
        and p["from"].partition(" ")[2] in clocks
    ]  # fmt: skip
    if not paths:
        raise ToolError(PROGRAM, f"{name}: the report names no clock and path")

    def length(path: dict) -> float:
        return sum(segment["delay"] for segment in path["path"])

    worst = max(paths, key=length)
    segments, clock = worst["path"], worst["from"].partition(" ")[2]
    wires = sum(s["delay"] for s in segments if s["type"] == "routing")
    used = {kind: n["used"] for kind, n in report.get("utilization", {}).items() if n["used"]}
    return Routed(
        name,
        clocks[clock]["achieved"],
        segments[0]["from"]["cell"],
        segments[-1]["to"]["cell"],
        round(length(worst) - wires, 3),
        round(wires, 3),
        used,
    )


def page(results: Sequence[Routed]) -> str:
    """The page, worst clock first."""
    if not results:
        return INTRODUCTION + NOT_RUN
    rows = [
        f"| {r.name} | {r.mhz:.0f} | {r.logic_ns:.2f} | {r.wires_ns:.2f} "
        f"| `{r.start}` | `{r.end}` | "
        + ", ".join(f"{n:,} {kind}" for kind, n in sorted(r.used.items()))
        + " |"
        for r in sorted(results, key=lambda r: r.mhz)
    ]
    head = "| block | MHz | logic ns | wires ns | from | to | used |\n|---|---|---|---|---|---|---|"
    return "\n".join([INTRODUCTION, head, *rows, ""])


def blocks_of(params: EngineParams) -> dict[str, str]:
    """Verilog of every block in its wrapper, by name."""
    hierarchy = split_modules(generate_verilog(params))
    names = {b: next(n for n in hierarchy.modules if n.endswith(b)) for b in BLOCKS}
    return {block: _wrap(hierarchy, name) for block, name in names.items()}


def small_engine(params: EngineParams) -> str:
    """Verilog of a whole small engine in its wrapper."""
    return _wrap(split_modules(generate_verilog(replace(params, **SMALL))), TOP)


def _wrap(hierarchy: Hierarchy, name: str) -> str:
    ports = ports_of(hierarchy.modules[name].text)
    return f"{with_children(hierarchy, name)}\n\n{wrapped(name, ports)}"


def main() -> None:
    line = missing(os.environ)
    if line:
        print(line)
        return
    board, results = load_board(BOARD), []
    works = {**blocks_of(board.array), "a small engine": small_engine(board.array)}
    for name, text in works.items():
        with tempfile.TemporaryDirectory(prefix="fpga-gen-pnr-") as scratch:
            folder = Path(scratch)
            synthesise(text, folder)
            report = place_and_route(PROGRAM, board.part, os.environ[DATABASE], folder)
        results.append(parse_report(name, report))
        print(f"{name}: {results[-1].mhz:.0f} MHz", flush=True)
    PAGE.write_text(page(results), "utf-8")
    print(f"{PAGE}: {len(results)} blocks")


if __name__ == "__main__":
    main()
