"""trace.json: the frame in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open.

Times are microseconds at the engine's clock; `args` of every event hold the exact cycles.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from fpga_gen.report.breakdown import simulated_ends
from fpga_gen.report.facts import Report
from fpga_gen.report.timeline import OPS, Activity

ENGINE, MEMORY, SIMULATED = 1, 2, 3  # processes of the trace
UNITS = {
    "conv": "MAC array",
    "pool": "max-pool unit",
    "vector": "vector unit",
    "load": "loader",
    "store": "store unit",
    "end": "sequencer",
}
assert set(UNITS) == set(OPS)


class _Clock:
    """Cycles -> microseconds."""

    def __init__(self, mhz: float) -> None:
        self.mhz = mhz

    def __call__(self, cycles: int) -> float:
        return cycles / self.mhz

    def slice(self, pid: int, tid: int, name: str, start: int, end: int, **args: object) -> dict:
        """A complete event."""
        return {
            "ph": "X", "pid": pid, "tid": tid, "name": name, "ts": self(start),
            "dur": self(end - start),
            "args": {"start_cycle": start, "cycles": end - start, **args},
        }  # fmt: skip

    def counter(self, pid: int, name: str, cycle: int, **values: float) -> dict:
        """Value of a counter from `cycle` on."""
        return {"ph": "C", "pid": pid, "name": name, "ts": self(cycle), "args": values}


def _name(pid: int, name: str, tid: int | None = None) -> dict:
    kind = "process_name" if tid is None else "thread_name"
    return {"ph": "M", "pid": pid, "tid": tid or 0, "name": kind, "args": {"name": name}}


def render_trace(report: Report) -> bytes:
    """The estimated timeline and, if the build was simulated, the one of the RTL below it."""
    clock = _Clock(report.clock_mhz)
    events = [*_engine(report, clock), *_memory(report, clock), *_simulated(report, clock)]
    document = {
        "displayTimeUnit": "ns",
        "otherData": {
            "model": report.model.name,
            "board": report.board.name,
            "clock_mhz": report.clock_mhz,
            "cycles_estimated": report.estimate.cycles,
            "cycles_simulated": report.simulation.cycles if report.simulation else None,
            "tool": f"fpga-gen {report.tool_version}",
        },
        "traceEvents": events,
    }
    return (json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _label(activity: Activity) -> str:
    return activity.layer or activity.op


def _engine(report: Report, clock: _Clock) -> Iterator[dict]:
    yield _name(ENGINE, f"engine, estimated: {report.estimate.cycles:,} cycles")
    for tid, op in enumerate(OPS, 1):
        yield _name(ENGINE, UNITS[op], tid)
    for a in report.timeline.activities:
        facts = {
            "stall_weights": a.stall_weights, "stall_drain": a.stall_drain,
            "read_bytes": a.read_bytes, "write_bytes": a.write_bytes,
        }  # fmt: skip
        tid = OPS.index(a.op) + 1
        yield clock.slice(ENGINE, tid, _label(a), a.start, a.end, op=a.op, **facts)
        if a.end > a.start:
            moved = (a.read_bytes + a.write_bytes) / (a.end - a.start)
            yield clock.counter(ENGINE, "DRAM bytes per cycle", a.start, bytes=moved)
        yield clock.counter(ENGINE, "DRAM bytes per cycle", a.end, bytes=0)


def _memory(report: Report, clock: _Clock) -> Iterator[dict]:
    """Maps on as few tracks as their lives allow, and the bytes that live at any time."""
    yield _name(MEMORY, "feature-map memory, estimated")
    changes: dict[int, int] = {}
    free_at: list[int] = []
    for m in report.timeline.maps:
        track = next((k for k, t in enumerate(free_at) if t <= m.start), len(free_at))
        if track == len(free_at):
            free_at.append(0)
            yield _name(MEMORY, f"maps {track + 1}", track + 1)
        free_at[track] = m.end
        place = {"first_byte": m.first_byte, "bytes": m.bytes}
        yield clock.slice(MEMORY, track + 1, m.name, m.start, m.end, **place)
        changes[m.start] = changes.get(m.start, 0) + m.bytes
        changes[m.end] = changes.get(m.end, 0) - m.bytes
    live = 0
    for cycle in sorted(changes):
        live += changes[cycle]
        yield clock.counter(MEMORY, "live bytes", cycle, bytes=live)


def _simulated(report: Report, clock: _Clock) -> Iterator[dict]:
    """Dispatch to dispatch, as the RTL ran it."""
    ends = simulated_ends(report)
    if not ends or report.simulation is None:
        return
    yield _name(SIMULATED, f"engine, simulated RTL: {report.simulation.cycles:,} cycles")
    yield _name(SIMULATED, "instructions", 1)
    for a, start, end in zip(
        report.timeline.activities, report.simulation.starts, ends, strict=True
    ):
        facts = {"op": a.op, "estimated_cycles": a.end - a.start}
        yield clock.slice(SIMULATED, 1, _label(a), start, end, **facts)
