"""Charts over the cycles of a frame: on-chip memory and engine timeline."""

from __future__ import annotations

from fpga_gen.report.breakdown import simulated_ends
from fpga_gen.report.chart_parts import (
    COLOURS,
    MIN_HEIGHT,
    MIN_WIDTH,
    UNIT_STEP,
    ZOOM,
    Chart,
    Spec,
    base_spec,
    op_colour,
    tip,
    used_ops,
)
from fpga_gen.report.facts import Report
from fpga_gen.report.timeline import OPS


def _time_axis(report: Report, field: str = "start") -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"domain": [0, report.estimate.cycles], "nice": False},
        "axis": {"format": "~s", "tickCount": 6},
        "title": "cycle",
    }


def memory_chart(report: Report) -> Chart:
    """A rectangle for each map: bytes it occupies, from its first write to its last read."""
    total, capacity = report.estimate.cycles, report.memory.capacity_bytes
    values = [
        {
            "map": m.name,
            "first": m.first_byte,
            "last": m.first_byte + m.bytes,
            "bytes": m.bytes,
            "start": m.start,
            "end": m.end,
            "middle": (m.start + m.end) / 2,
            "centre": m.first_byte + m.bytes / 2,
            "colour": index % 6,
            "width": (m.end - m.start) / total,
            "height": m.bytes / capacity,
        }
        for index, m in enumerate(report.timeline.maps)
    ]
    height = {
        "field": "first",
        "type": "quantitative",
        "scale": {"domain": [0, capacity], "nice": False},
        "axis": {"format": "~s", "tickCount": 6},
        "title": "byte address",
    }
    tips = [
        tip("map", "map"),
        tip("bytes", "bytes", ","),
        tip("first", "first byte", ","),
        tip("start", "from cycle", ","),
        tip("end", "to cycle", ","),
    ]
    palette = [COLOURS[op] for op in OPS]
    rectangles = {
        "params": [ZOOM],
        "mark": {"type": "rect", "clip": True, "strokeWidth": 0.7, "fillOpacity": 0.55},
        "encoding": {
            "x": _time_axis(report),
            "x2": {"field": "end"},
            "y": height,
            "y2": {"field": "last"},
            "color": {
                "field": "colour",
                "type": "nominal",
                "scale": {"domain": list(range(6)), "range": palette},
                "legend": None,
            },
            "tooltip": tips,
        },
    }
    names = {
        "transform": [{"filter": f"datum.width > minWidth && datum.height > {MIN_HEIGHT}"}],
        "mark": {"type": "text", "clip": True, "fontSize": 9, "limit": 70, "tooltip": False},
        "encoding": {
            "x": {"field": "middle", "type": "quantitative"},
            "y": {"field": "centre", "type": "quantitative"},
            "text": {"field": "map"},
        },
    }
    spec = base_spec(
        f"{len(values)} feature maps in {capacity:,} bytes of on-chip memory over {total:,} cycles",
        values,
        340,
        params=[{"name": "minWidth", "value": MIN_WIDTH}],
        layer=[rectangles, names],
    )
    text = (
        f"Every rectangle is a map: its place among {capacity:,} bytes and its life, from the "
        "layer that writes it to the one that reads it last. The colours only tell maps apart."
    )
    return Chart("memory", "On-chip memory over time", text, spec)


def timeline_chart(report: Report) -> Chart:
    """What every unit does when; under it the RTL's dispatches if there was a simulation."""
    values = [
        {
            "unit": a.op, "op": a.op, "layer": a.layer or a.op, "start": a.start, "end": a.end,
            "cycles": a.end - a.start, "weights": a.stall_weights, "drain": a.stall_drain,
        }
        for a in report.timeline.activities
    ]  # fmt: skip
    units = used_ops(report)
    ends = simulated_ends(report)
    measured = []
    if ends and report.simulation is not None:
        units = [*units, "RTL"]
        starts = report.simulation.starts
        measured = [
            {
                "unit": "RTL", "op": a.op, "layer": a.layer or a.op, "start": start, "end": end,
                "cycles": end - start,
            }
            for a, start, end in zip(report.timeline.activities, starts, ends, strict=True)
        ]  # fmt: skip
    tips = [
        tip("layer", "layer"),
        tip("op", "op"),
        tip("start", "from cycle", ","),
        tip("cycles", "cycles", ","),
    ]
    waits = [
        tip("weights", "of these, waiting for weights", ","),
        tip("drain", "of these, waiting for the exit path", ","),
    ]
    encoding = {
        "x": _time_axis(report),
        "x2": {"field": "end"},
        "y": {
            "field": "unit",
            "type": "nominal",
            "scale": {"domain": units, "paddingInner": 0.25},
            "title": None,
        },
        "color": op_colour(used_ops(report)),
    }
    mark = {"type": "rect", "clip": True, "strokeWidth": 0.4}
    estimated = {"mark": mark, "encoding": {**encoding, "tooltip": [*tips, *waits]}}
    layers = [{"params": [ZOOM], **estimated}]
    if measured:
        rtl = {"data": {"values": measured}, "mark": mark}
        layers.append({**rtl, "encoding": {**encoding, "tooltip": tips}})
    spec = base_spec(
        f"Engine timeline: {len(report.timeline.activities)} instructions",
        [v for v in values if v["unit"] in units],
        UNIT_STEP * len(units),
        layer=layers,
    )
    text = "One row for each unit of the engine (cycle model)" + (
        "; the last row is the simulated RTL, from dispatch to dispatch." if ends else "."
    )
    return Chart("timeline", "Engine timeline", text, spec)
