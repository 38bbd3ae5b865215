"""What the charts of report.html have in common: Vega-Lite specifications as plain dicts.

Data stand inline. Colours of text and grid are left to the page, which follows the reader's light
or dark theme.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fpga_gen.report.facts import Report
from fpga_gen.report.timeline import OPS

VEGA_LITE = "6.4"
Spec = dict[str, Any]

ROW_STEP, UNIT_STEP = 14, 34  # pixels of one layer, of one unit
MIN_WIDTH, MIN_HEIGHT = 0.035, 0.035  # share of the axes: smaller rectangles carry no name
# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLOURS = {
    "conv": "#0a84c6",
    "pool": "#e69f00",
    "vector": "#009e73",
    "load": "#cc79a7",
    "store": "#d55e00",
    "end": "#7f7f7f",
}
assert set(COLOURS) == set(OPS)
MARK = "#8a5cf0"  # ceilings, bounds and simulated values
# Ctrl + wheel and the mouse alone, so that neither the wheel nor a finger is kept from scrolling.
ZOOM = {
    "name": "zoom",
    "select": {
        "type": "interval",
        "encodings": ["x"],
        "zoom": "wheel![event.ctrlKey]",
        "translate": "[mousedown, window:mouseup] > window:mousemove!",
    },
    "bind": "scales",
}


@dataclass(frozen=True)
class Chart:
    """One figure. name: identifier in the page; title and text: caption."""

    name: str
    title: str
    text: str
    spec: Spec


def base_spec(description: str, values: list[dict], height: int, **rest: Any) -> Spec:
    """A chart as wide as the page and `height` pixels high."""
    return {
        "description": description,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": values},
        **rest,
    }


def op_colour(ops: list[str], **more: Any) -> Spec:
    """Colour by op; `more` overrides."""
    return {
        "field": "op",
        "type": "nominal",
        "scale": {"domain": ops, "range": [COLOURS[op] for op in ops]},
        "legend": {"orient": "top", "title": None, "columns": 6},
        **more,
    }


def used_ops(report: Report) -> list[str]:
    """Ops of the report's layers."""
    seen = {layer.op for layer in report.layers}
    return [op for op in OPS if op in seen]


def tip(field: str, title: str, form: str | None = None) -> Spec:
    """A line of a tooltip; form: of a number."""
    kind = "nominal" if form is None else "quantitative"
    return {"field": field, "title": title, "type": kind, **({"format": form} if form else {})}
