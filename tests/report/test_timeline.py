"""Where the cycles go: shares add up, and the bottleneck is named."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.report import Report
from fpga_gen.report.breakdown import (
    SHARES,
    bottleneck,
    breakdown,
    simulated_cycles,
    simulated_ends,
)


def shares_of(report: Report) -> dict[str, int]:
    return {
        key: share.cycles for key, share in zip(SHARES, breakdown(report), strict=True)
    }  # in the order of SHARES


def test_shares_of_a_frame_by_hand(report: Report):
    work = round(1_000_000 / 5376)
    assert shares_of(report) == {
        "work": work,
        "mapping": 900 - 160 - 20 - 10 - work,
        "weights": 20,
        "drain": 10,
        "order": (160 - 150) + (920 - 900),
        "pool": 0,
        "vector": 0,
        "load": 50,
        "store": 30,
        "ends": 100 + 50,
    }


def test_shares_add_up_to_the_frame(report: Report, compiled: Report, large: Report):
    for one in (report, compiled, large):
        assert sum(shares_of(one).values()) == one.estimate.cycles


def test_bottleneck_is_the_largest_loss(report: Report):
    assert "MAC slots lost to rounding" in bottleneck(report)
    load, conv, *rest = report.timeline.activities
    starved = replace(conv, stall_weights=700)
    timeline = replace(report.timeline, activities=(load, starved, *rest))
    text = bottleneck(replace(report, timeline=timeline))
    assert "The bottleneck is waiting for weights from DRAM, 700 cycles (70.0 %)" in text
    assert "more ports" in text
    busy = replace(report, model=replace(report.model, macs=600 * 5376))
    assert "useful work for 60.0 % of the cycles: it is the bottleneck itself" in bottleneck(busy)


def test_simulated_cycles_go_from_dispatch_to_dispatch(report: Report, simulated: Report):
    assert simulated_ends(report) == []
    assert simulated_cycles(report) == {}
    assert simulated_cycles(simulated) == {
        ("image", "load"): 165,
        ("conv|1", "conv"): 930 - 165,
        ("out", "store"): 961 - 930,
        ("", "end"): 1010 - 961,
    }
