"""Charts of report.html: the list, and the roofline."""

from __future__ import annotations

from fpga_gen.report.chart_parts import (
    COLOURS,
    MARK,
    Chart,
    base_spec,
    tip,
)
from fpga_gen.report.charts_layers import cycles_chart, dram_chart, utilisation_chart
from fpga_gen.report.charts_time import memory_chart, timeline_chart
from fpga_gen.report.facts import Report


def all_charts(report: Report) -> dict[str, Chart]:
    """By name, in the order of the page."""
    made = (
        roofline(report),
        utilisation_chart(report),
        cycles_chart(report),
        dram_chart(report),
        memory_chart(report),
        timeline_chart(report),
    )
    return {chart.name: chart for chart in made}


def roofline(report: Report) -> Chart:
    """MACs per cycle over MACs per DRAM byte: layers, the frame, and both ceilings."""
    peak, rate = report.array.macs_per_cycle, report.estimate.read_bytes_per_cycle
    points = [
        {
            "layer": layer.title,
            "op": layer.op,
            "intensity": layer.macs / layer.dram_bytes,
            "rate": layer.macs / layer.cycles,
            "cycles": layer.cycles,
        }
        for layer in report.layers
        if layer.macs and layer.dram_bytes and layer.cycles
    ]
    cost = report.estimate
    frame = {
        "layer": "whole frame",
        "op": "frame",
        "intensity": report.model.macs / (cost.dram_read_bytes + cost.dram_write_bytes),
        "rate": report.model.macs / cost.cycles,
        "cycles": cost.cycles,
    }
    ridge = peak / rate if rate else 1.0
    x = [p["intensity"] for p in [*points, frame]]
    low, high = min(x) / 2, max([*x, ridge]) * 2
    roof = [{"intensity": i, "rate": min(peak, i * rate)} for i in sorted({low, ridge, high})]
    description = (
        f"Roofline: peak {peak:,} MACs per cycle, DRAM {rate:.1f} bytes per cycle; "
        f"{len(points)} layers and the whole frame"
    )
    axes = {
        "x": {
            "field": "intensity",
            "type": "quantitative",
            "scale": {"type": "log", "domain": [low, high], "nice": False},
            "title": "MACs per DRAM byte",
            "axis": {"format": "~s", "tickCount": 6},
        },
        "y": {
            "field": "rate",
            "type": "quantitative",
            "scale": {"type": "log"},
            "title": "MACs per cycle",
            "axis": {"format": "~s", "tickCount": 6},
        },
    }
    tips = [
        tip("layer", "layer"),
        tip("intensity", "MACs per DRAM byte", ",.1f"),
        tip("rate", "MACs per cycle", ",.1f"),
        tip("cycles", "cycles", ","),
    ]
    spec = base_spec(
        description,
        points,
        320,
        layer=[
            {
                "data": {"values": roof},
                "mark": {"type": "line", "color": MARK, "strokeWidth": 2, "tooltip": False},
                "encoding": axes,
            },
            {
                "mark": {"type": "circle", "opacity": 0.65, "color": COLOURS["conv"]},
                "encoding": {
                    **axes,
                    "size": {"field": "cycles", "type": "quantitative", "legend": None},
                    "tooltip": tips,
                },
            },
            {
                "data": {"values": [frame]},
                "mark": {
                    "type": "point", "shape": "diamond", "filled": True, "size": 160,
                    "color": COLOURS["pool"],
                },
                "encoding": {**axes, "tooltip": tips},
            },
        ],
    )  # fmt: skip
    text = (
        "One circle for each layer with multiply-accumulates, its area the layer's cycles; the "
        "diamond is the whole frame. Left of the knee the DRAM limits, right of it the array."
    )
    return Chart("roofline", "Roofline", text, spec)
