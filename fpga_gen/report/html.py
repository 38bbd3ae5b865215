"""report.html: the report as one self-contained page.

The page needs no network: the charts' library (Vega) stands in it, and its content security policy
lets the browser load nothing. Without scripts the tables still hold every figure.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fpga_gen.report.accuracy import (
    SCORE_HEAD,
    TENSOR_HEAD,
    score_rows,
    summary,
    tensor_rows,
)
from fpga_gen.report.breakdown import bottleneck, breakdown, simulated_cycles
from fpga_gen.report.chart_parts import VEGA_LITE
from fpga_gen.report.charts import all_charts
from fpga_gen.report.compare import FIGURE_HEAD, BuildComparison
from fpga_gen.report.compare import LAYER_HEAD as PAIR_HEAD
from fpga_gen.report.facts import UTILISATION, Report
from fpga_gen.report.implementation import implementation_rows, implementation_summary
from fpga_gen.report.markdown import (
    COSTLIEST_HEAD,
    LAYER_HEAD,
    LAYER_LEFT,
    NOT_ON_HARDWARE,
    SKIPPING_HEAD,
    approximation_lines,
    costliest_rows,
    deviation_lines,
    layer_rows,
    performance_rows,
    quantisation_rows,
    resource_rows,
    skipping_rows,
    skipping_summary,
)
from fpga_gen.report.segments import SEGMENT_HEAD, SEGMENT_TEXT, segment_rows
from fpga_gen.report.timing import (
    CLASS_HEAD,
    PATH_HEAD,
    class_rows,
    clock_verdict,
    depth_line,
    estimate_line,
    path_rows,
)
from fpga_gen.resources import LIMITS, NAMES

TEMPLATES = Path(__file__).with_name("templates")
# Results in a build directory that the page shows, by the figures that they belong to.
PICTURES = {"simulation": "simulated_frame.png", "accuracy": "evaluation.png"}


@dataclass(frozen=True)
class Card:
    """A headline figure. tone: 'good', 'bad' or ''."""

    title: str
    value: str
    note: str
    tone: str = ""


@lru_cache(maxsize=1)
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, ready to stand in a page."""
    # Its stub knows no default for the snippet.
    script = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # pyright: ignore[reportCallIssue]
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def data_url(picture: bytes) -> str:
    """A PNG file as the source of an image in the page."""
    return f"data:image/png;base64,{b64encode(picture).decode()}"


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_comparison(comparison: BuildComparison) -> str:
    """The page of `fpga-gen compare`; it has no scripts."""
    return (
        _environment()
        .get_template("compare.html.j2")
        .render(
            titles=comparison.titles,
            figure_head=FIGURE_HEAD,
            figures=[pair.cells for pair in comparison.figures],
            layer_head=PAIR_HEAD,
            layers=[pair.cells for pair in comparison.layers],
            disclaimer=NOT_ON_HARDWARE,
            style=(TEMPLATES / "report.css").read_text(),
        )
    )


def render_html(report: Report, pictures: Mapping[str, bytes] = {}) -> str:
    """The whole page. pictures: PNG files by their names in `PICTURES`."""
    accuracy, built, timing = report.accuracy, report.implementation, report.timing
    deviations = deviation_lines(report.quantisation) if "imported" in report.quantisation else None
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            cards=cards(report),
            bottleneck=bottleneck(report),
            shares=breakdown(report),
            performance=performance_rows(report),
            resources=_resources(report),
            limits=LIMITS,
            names=NAMES,
            clock=clock_verdict(timing, report.clock_mhz).replace("`", ""),
            depth=depth_line(timing, report.resources.available.flip_flops).replace("`", ""),
            timing=timing if timing is not None and timing.clock_mhz else None,
            estimate_line=estimate_line,
            class_head=CLASS_HEAD,
            class_rows=class_rows,
            path_head=PATH_HEAD,
            path_rows=path_rows,
            charts=all_charts(report),
            definition=UTILISATION,
            costliest_head=COSTLIEST_HEAD,
            costliest=costliest_rows(report),
            layer_head=(*LAYER_HEAD, "lower bound", "cycles, simulated"),
            layer_left=LAYER_LEFT,
            layers=_layers(report),
            segments=segment_rows(report.segments),
            segment_head=SEGMENT_HEAD,
            segment_text=SEGMENT_TEXT,
            skipping=skipping_rows(report),
            skipping_head=SKIPPING_HEAD,
            skipping_text=skipping_summary(report),
            pictures={name: data_url(data) for name, data in pictures.items()},
            implemented=[] if built is None else implementation_rows(built),
            implemented_text=None if built is None else implementation_summary(built),
            accuracy_text=None if accuracy is None else summary(accuracy),
            score_head=SCORE_HEAD,
            scores=[] if accuracy is None else score_rows(accuracy),
            tensor_head=TENSOR_HEAD,
            tensors=[] if accuracy is None else tensor_rows(accuracy.worst_tensors),
            quantisation=quantisation_rows(report.quantisation),
            deviations=deviations,
            approximations=approximation_lines(report.quantisation),
            disclaimer=NOT_ON_HARDWARE,
            maps_text=maps_text,
            style=(TEMPLATES / "report.css").read_text(),
            script=(TEMPLATES / "report.js").read_text(),
            vega=vega_bundle(),
        )
    )


def exceeded(report: Report, limits: dict[str, float] | None = None) -> list[str]:
    """Names of the resources of which the engine takes more than there is, or than the given
    share."""
    used, available = asdict(report.resources.used), asdict(report.resources.available)
    most = {name: (limits or {}).get(name, 1.0) * available[name] for name in used}
    over = [NAMES[name] for name in used if available[name] and used[name] > most[name]]
    if report.memory.peak_bytes > report.memory.capacity_bytes:
        over.append("feature-map memory")
    return over


def _fit_card(report: Report) -> Card:
    if over := exceeded(report):
        return Card("Fits", "no", "too little: " + ", ".join(over), "bad")
    if tight := exceeded(report, LIMITS):
        return Card("Fits", "tightly", "above the recommended share: " + ", ".join(tight))
    return Card("Fits", "yes", f"{report.board.name}, {report.resources.origin}", "good")


def cards(report: Report) -> list[Card]:
    """The headline of the page."""
    cost, sim = report.estimate, report.simulation
    best = cost if sim is None else sim
    moved = best.dram_read_bytes + best.dram_write_bytes
    bound = max(1, cost.dram_lower_bound_bytes)
    made = [
        _fit_card(report),
        Card(
            "Frames per second",
            f"{best.fps:,.1f}",
            f"{best.cycles:,} cycles at {report.clock_mhz:g} MHz, {best.kind}",
        ),
        Card("Latency", f"{best.latency_ms:,.2f} ms", f"one frame at a time, {best.kind}"),
        Card("MAC utilisation", f"{100 * best.utilisation:.1f} %", best.kind),
        Card(
            "DRAM per frame",
            f"{moved / 1e6:,.2f} MB",
            f"{moved / bound:.2f} x the lower bound, {best.kind}",
        ),
    ]
    if sim is None:
        made.append(Card("Simulated", "no", "fpga-gen simulate DIR --image FILE"))
    elif sim.bit_exact:
        made.append(Card("Bit-exact", "yes", maps_text(sim.tensors_compared), "good"))
    else:
        made.append(Card("Bit-exact", "no", "RTL and integer reference differ", "bad"))
    if report.accuracy is not None:
        score = next(s for s in report.accuracy.scores if s.source == "integer")
        made.append(Card("mDice", f"{score.dice:.4f}", f"{score.images} pictures, {score.kind}"))
    else:
        made.append(
            Card("Accuracy", "unknown", "fpga-gen evaluate DIR --images FOLDER --masks FOLDER")
        )
    return made


def maps_text(count: int) -> str:
    """Such as '3 maps compared'."""
    return f"{count} map{'' if count == 1 else 's'} compared"


def _resources(report: Report) -> list[tuple]:
    """Text of the table and the share as a number, 1 for all of the board."""
    return [
        (*row, int(row[1].replace(",", "")) / int(row[2].replace(",", "")))
        for row in resource_rows(report)
    ]


def _layers(report: Report) -> list[tuple[str, ...]]:
    """Rows of the layer table: those of report.md, the bound and the simulated cycles."""
    simulated = simulated_cycles(report)
    rows = []
    for row, layer in zip(layer_rows(report), report.layers, strict=True):
        cycles = simulated.get((layer.name, layer.op))
        text = "-" if cycles is None else f"{cycles:,}"
        rows.append((*row, f"{layer.dram_bound_bytes:,}", text))
    return rows
