"""Charts with one row for each layer: utilisation, cycles, DRAM traffic."""

from __future__ import annotations

from fpga_gen.report.breakdown import simulated_cycles
from fpga_gen.report.chart_parts import (
    COLOURS,
    MARK,
    ROW_STEP,
    Chart,
    Spec,
    base_spec,
    op_colour,
    tip,
    used_ops,
)
from fpga_gen.report.facts import Report

LETTERS = {"name": "letters", "value": 24}  # of a name that are shown; a phone shows fewer


def _layer_values(report: Report) -> list[dict]:
    """One row for each layer; `row` keeps equal names apart."""
    simulated = simulated_cycles(report)
    return [
        {
            "row": f"{index:03d} {layer.title}",
            "layer": layer.title,
            "shape": layer.shape_text,
            "op": layer.op,
            "mapping": layer.mapping,
            "utilisation": layer.utilisation,
            "cycles": layer.cycles,
            "simulated": simulated.get((layer.name, layer.op)),
            "dram": layer.dram_bytes,
            "bound": layer.dram_bound_bytes,
        }
        for index, layer in enumerate(report.layers)
    ]


def _row_axis(values: list[dict]) -> Spec:
    """One row for each layer in program order; the label is the row without its number, and of a
    long name the end, which tells it from its neighbours."""
    label = "length(datum.label) > letters + 4 ? '…' + slice(datum.label, -letters)"
    return {
        "field": "row",
        "type": "nominal",
        "scale": {"domain": [value["row"] for value in values]},
        "title": None,
        "axis": {
            "labelExpr": f"{label} : slice(datum.label, 4)",
            "labelFontSize": 10,
            "labelLimit": 150,
        },
    }


LAYER_TIPS = [
    tip("layer", "layer"),
    tip("op", "op"),
    tip("shape", "result"),
    tip("mapping", "mapping"),
    tip("utilisation", "utilisation", ".1%"),
    tip("cycles", "cycles, estimated", ","),
    tip("simulated", "cycles, simulated", ","),
    tip("dram", "DRAM bytes", ","),
    tip("bound", "DRAM bytes, lower bound", ","),
]


def utilisation_chart(report: Report) -> Chart:
    """Share of the MAC slots that do useful work, by layer."""
    values = _layer_values(report)
    spec = base_spec(
        f"MAC utilisation of {len(values)} layers",
        values,
        ROW_STEP * len(report.layers),
        params=[LETTERS],
        mark={"type": "bar"},
        encoding={
            "y": _row_axis(values),
            "x": {
                "field": "utilisation",
                "type": "quantitative",
                "scale": {"domain": [0, 1]},
                "axis": {"format": "%", "orient": "top", "tickCount": 4},
                "title": "MAC utilisation",
            },
            "color": op_colour(used_ops(report), legend=None),
            "tooltip": LAYER_TIPS,
        },
    )
    text = "Useful multiply-accumulates over all slots of the array while it holds the layer."
    return Chart("utilisation", "Utilisation", text, spec)


def cycles_chart(report: Report) -> Chart:
    """Cycles of every layer; a tick where the simulated RTL differs."""
    values = _layer_values(report)
    ticks = {
        "transform": [{"filter": "isValid(datum.simulated)"}],
        "mark": {"type": "tick", "color": MARK, "thickness": 2, "bandSize": 9},
        "encoding": {
            "y": _row_axis(values),
            "x": {"field": "simulated", "type": "quantitative"},
            "tooltip": LAYER_TIPS,
        },
    }
    bars = {
        "mark": {"type": "bar"},
        "encoding": {
            "y": _row_axis(values),
            "x": {
                "field": "cycles",
                "type": "quantitative",
                "axis": {"format": "~s", "orient": "top", "tickCount": 4},
                "title": "cycles",
            },
            "color": op_colour(used_ops(report), legend=None),
            "tooltip": LAYER_TIPS,
        },
    }
    layers = [bars, ticks] if any(v["simulated"] is not None for v in values) else [bars]
    spec = base_spec(
        f"Cycles of {len(values)} layers",
        values,
        ROW_STEP * len(report.layers),
        params=[LETTERS],
        layer=layers,
    )
    text = "Bars: cycle model." + (
        " Ticks: simulated RTL, from a layer's dispatch to the next one's."
        if len(layers) == 2
        else ""
    )
    return Chart("cycles", "Cycles", text, spec)


def dram_chart(report: Report) -> Chart:
    """DRAM bytes of every layer beside the least it could move."""

    values = _layer_values(report)

    def mark(field: str, kind: Spec, title: str) -> Spec:
        return {
            "transform": [{"filter": f"datum.{field} > 0"}],
            "mark": kind,
            "encoding": {
                "y": _row_axis(values),
                "x": {
                    "field": field,
                    "type": "quantitative",
                    "scale": {"type": "log"},
                    "axis": {"format": "~s", "orient": "top", "tickCount": 4},
                    "title": title,
                },
                "tooltip": LAYER_TIPS,
            },
        }

    title = "DRAM bytes"
    circle = {"type": "circle", "size": 45, "color": COLOURS["conv"], "opacity": 0.9}
    tick = {"type": "tick", "color": MARK, "thickness": 2, "bandSize": 9}
    spec = base_spec(
        f"DRAM bytes of {len(values)} layers and their lower bounds",
        values,
        ROW_STEP * len(report.layers),
        params=[LETTERS],
        layer=[mark("dram", circle, title), mark("bound", tick, title)],
    )
    text = "Circles: bytes moved, logarithmic. Ticks: weights at their stored width, unpadded."
    return Chart("dram", "DRAM traffic against the bound", text, spec)
