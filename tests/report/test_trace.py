"""trace.json: what a trace viewer needs, and the model's cycles in it."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise

import pytest

from fpga_gen.report import Report
from fpga_gen.report.trace import ENGINE, MEMORY, SIMULATED, render_trace


def slices(report: Report, pid: int) -> list[dict]:
    events = json.loads(render_trace(report))["traceEvents"]
    return [e for e in events if e["ph"] == "X" and e["pid"] == pid]


def test_every_event_has_what_the_format_asks_for(evaluated: Report, compiled: Report):
    for report in (evaluated, compiled):
        document = json.loads(render_trace(report))
        assert document["displayTimeUnit"] == "ns"
        assert document["otherData"]["cycles_estimated"] == report.estimate.cycles
        for event in document["traceEvents"]:
            assert {"ph", "pid", "name", "args"} <= set(event)
            if event["ph"] == "X":
                assert {"ts", "dur", "tid"} <= set(event)
                assert event["dur"] >= 0
            else:
                assert event["ph"] in ("C", "M")


def test_durations_equal_the_models_cycles(compiled: Report):
    found = slices(compiled, ENGINE)
    assert len(found) == len(compiled.timeline.activities)
    for event, activity in zip(found, compiled.timeline.activities, strict=True):
        assert event["args"]["start_cycle"] == activity.start
        assert event["args"]["cycles"] == activity.end - activity.start
        assert event["ts"] * compiled.clock_mhz == pytest.approx(activity.start, abs=1e-6)
        assert event["dur"] * compiled.clock_mhz == pytest.approx(
            activity.end - activity.start, abs=1e-6
        )
    assert max(e["args"]["start_cycle"] + e["args"]["cycles"] for e in found) <= (
        compiled.estimate.cycles
    )


def test_slices_of_one_track_do_not_overlap(compiled: Report, large: Report):
    for report in (compiled, large):
        tracks = defaultdict(list)
        for event in [*slices(report, ENGINE), *slices(report, MEMORY)]:
            start = event["args"]["start_cycle"]
            tracks[event["pid"], event["tid"]].append((start, start + event["args"]["cycles"]))
        for spans in tracks.values():
            assert all(a[1] <= b[0] for a, b in pairwise(sorted(spans)))


def test_maps_and_live_bytes(compiled: Report):
    assert sorted(e["name"] for e in slices(compiled, MEMORY)) == sorted(
        m.name for m in compiled.timeline.maps
    )
    events = json.loads(render_trace(compiled))["traceEvents"]
    live = [e["args"]["bytes"] for e in events if e["name"] == "live bytes"]
    assert max(live) == compiled.memory.live_bytes
    assert live[-1] == 0


def test_the_rtl_has_a_track_of_its_own(report: Report, simulated: Report):
    assert slices(report, SIMULATED) == []
    found = slices(simulated, SIMULATED)
    assert [e["args"]["start_cycle"] for e in found] == list(simulated.simulation.starts)
    assert sum(e["args"]["cycles"] for e in found) == simulated.simulation.cycles - 102
