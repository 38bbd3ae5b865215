"""Looks an accelerator up among the mapped reference engines of costs.json."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fpga_gen.boards import Resources
from fpga_gen.hardware.common.design_hash import stamp
from fpga_gen.report.timing import TimingFacts
from fpga_gen.resources import COSTS
from fpga_gen.synth.cells import Cost
from fpga_gen.synth.estimate import OWN_DELAYS, estimate_facts, from_rows
from fpga_gen.synth.flow import MAX_FAN_OUT, TOP, to_resources
from fpga_gen.synth.modules import split_modules


def known_design(
    verilog: Mapping[str, str], clock_mhz: float
) -> tuple[Resources, TimingFacts] | None:
    """Costs, depth and the timing estimate at a clock of this Verilog if every block of it was
    mapped for the table as it is now; None otherwise, and `fpga-gen synth` tells."""
    hierarchy = split_modules(stamp(verilog, 0))  # as the table's
    found, copies = hierarchy.digests, hierarchy.counts(TOP)
    for entry in json.loads(COSTS.read_text("utf-8"))["references"]:
        blocks = entry.get("blocks", {})
        if found.keys() == blocks.keys() and all(
            (found[n], copies[n]) == (b["digest"], b["copies"]) for n, b in blocks.items()
        ):
            worst, widest, timing = entry["worst"], entry["widest"], entry["timing"]
            same = clock_mhz == timing["clock_mhz"]  # pairs are counted at one clock only
            family = entry["params"]["family"]
            facts = TimingFacts(
                worst["levels"],
                worst["from"],
                worst["to"],
                entry["wide_nets"],
                MAX_FAN_OUT,
                widest["loads"],
                widest["net"],
                entry["control_sets"],
                pairs=timing["pairs"] if same else 0,
                tight_pairs=timing["tight_pairs"] if same else 0,
                delays=OWN_DELAYS,
                **estimate_facts(from_rows(timing["paths"]), clock_mhz, family),
            )
            return to_resources(Cost(**entry["total"])), facts
    return None
