"""report.md: the report for people. Every table says of which kind its figures are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from fpga_gen.report.accuracy import SCORE_HEAD, score_rows, summary
from fpga_gen.report.breakdown import costliest
from fpga_gen.report.facts import UTILISATION, Performance, Report
from fpga_gen.report.implementation import (
    SITE_TITLES,
    implementation_rows,
    implementation_summary,
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

NOT_ON_HARDWARE = (
    "Estimated figures come from the cycle model, simulated ones from the generated RTL in "
    "Verilator with a DRAM model. Nothing here was measured on a board, and nothing but what is "
    "called implemented was proven by place-and-route."
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; columns after the first `left` are right-aligned."""
    rule = "|" + "---|" * left + "---:|" * (len(head) - left)
    lines = ["| " + " | ".join(head) + " |", rule]
    lines += ["| " + " | ".join(_escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")


def performance_rows(report: Report) -> list[tuple[str, str, str]]:
    """(figure, estimated, simulated) of one frame; '-' where nothing was simulated."""
    columns: list[Performance | None] = [report.estimate, report.simulation]

    def row(title: str, text) -> tuple[str, str, str]:
        first, second = ("-" if c is None else text(c) for c in columns)
        return title, first, second

    bound = report.estimate.dram_lower_bound_bytes
    return [
        row("cycles", lambda c: f"{c.cycles:,}"),
        row(f"frames per second at {report.clock_mhz:g} MHz", lambda c: f"{c.fps:,.1f}"),
        row("latency of a frame, ms", lambda c: f"{c.latency_ms:,.2f}"),
        row("MAC utilisation", lambda c: f"{100 * c.utilisation:.1f} %"),
        row("DRAM bytes read", lambda c: f"{c.dram_read_bytes:,}"),
        row("DRAM bytes written", lambda c: f"{c.dram_write_bytes:,}"),
        row(
            f"DRAM bytes, times the lower bound ({bound:,})",
            lambda c: f"{(c.dram_read_bytes + c.dram_write_bytes) / max(1, bound):.2f}",
        ),
    ]


def resource_rows(report: Report) -> list[tuple[str, str, str, str]]:
    """(primitive, used, available, share) of the programmable logic."""
    used, available = asdict(report.resources.used), asdict(report.resources.available)
    return [
        (
            SITE_TITLES[k],
            f"{used[k]:,}",
            f"{available[k]:,}",
            f"{100 * used[k] / available[k]:.0f} %",
        )
        for k in used
        if available[k]
    ]


def timing_section(report: Report) -> list[str]:
    """Logic depth, and where it was estimated, picoseconds by class of path and the worst paths."""
    timing = report.timing
    parts = [depth_line(timing, report.resources.available.flip_flops)]
    if timing is None or not timing.clock_mhz:
        return parts
    paths = [(f"`{start}`", f"`{end}`", *rest) for start, end, *rest in path_rows(timing)]
    return [
        *parts,
        f"### Timing ({timing.kind})",
        estimate_line(timing),
        table(CLASS_HEAD, class_rows(timing), left=2),
        "The worst paths:",
        table(PATH_HEAD, paths, left=2),
    ]


LAYER_HEAD = ("layer", "op", "result", "mapping", "MACs", "cycles", "utilisation", "DRAM bytes")
LAYER_LEFT = 4  # columns of text


def costliest_rows(report: Report) -> list[tuple[str, ...]]:
    """The ten layers that take most cycles: title, op, result, cycles, share of the frame,
    utilisation, DRAM bytes."""
    return [
        (
            layer.title,
            layer.op,
            layer.shape_text,
            f"{layer.cycles:,}",
            f"{100 * layer.cycles / report.estimate.cycles:.1f} %",
            f"{100 * layer.utilisation:.1f} %",
            f"{layer.dram_bytes:,}",
        )
        for layer in costliest(report)
    ]


COSTLIEST_HEAD = ("layer", "op", "result", "cycles", "of the frame", "utilisation", "DRAM bytes")


def layer_rows(report: Report) -> list[tuple[str, ...]]:
    """One row of text for each layer, see `LAYER_HEAD`."""
    return [
        (
            layer.title,
            layer.op,
            layer.shape_text,
            layer.mapping,
            f"{layer.macs:,}",
            f"{layer.cycles:,}",
            f"{100 * layer.utilisation:.1f} %",
            f"{layer.dram_bytes:,}",
        )
        for layer in report.layers
    ]


def render_markdown(report: Report) -> str:
    """The whole report as Markdown."""
    model, array, sim = report.model, report.array, report.simulation
    shape = " x ".join(str(n) for n in model.input_shape)
    facts = [
        ("model", f"{model.name} (sha256 {model.sha256[:16]}...)"),
        ("input", shape),
        ("multiply-accumulates (counted)", f"{model.macs:,}"),
        ("weights (counted)", f"{model.weights:,}"),
        ("board", f"{report.board.name}, {report.board.part} ({report.board.status})"),
        (
            "array",
            f"{array.pixels} pixels x {array.in_channels} inputs x ({array.columns}) columns",
        ),
        ("modes", ", ".join(f"/{m}" if m > 1 else "full" for m in array.modes)),
        ("pixels that leave together", str(array.exit_pixels)),
        ("MACs per cycle", f"{array.macs_per_cycle:,}"),
        ("clock", clock_verdict(report.timing, report.clock_mhz)),
        ("tool", f"fpga-gen {report.tool_version}"),
    ]
    parts = [
        f"# {model.name} on {report.board.name}",
        table(("fact", "value"), facts, left=2),
        "## One frame",
        table(("figure", "estimated", "simulated"), performance_rows(report)),
        UTILISATION,
    ]
    if sim is None:
        parts.append("Not simulated yet: `fpga-gen simulate DIR --image FILE`.")
    else:
        verdict = "equal to" if sim.bit_exact else "DIFFERENT FROM"
        parts.append(
            f"RTL result {verdict} the integer reference, {sim.tensors_compared} maps compared "
            f"in every element, picture `{sim.image}`, {sim.wall_seconds:.0f} s of simulation."
        )
        if sim.counters:
            rows = [(k, f"{v:,}") for k, v in sim.counters.items()]
            parts.append(table(("performance counter (simulated)", "value"), rows))
    if report.accuracy is not None:
        parts += [
            "## Accuracy",
            table(SCORE_HEAD, score_rows(report.accuracy), left=2),
            summary(report.accuracy),
        ]
    else:
        parts += [
            "## Accuracy",
            "Not evaluated yet: `fpga-gen evaluate DIR --images FOLDER --masks FOLDER`.",
        ]
    if report.implementation is not None:
        parts += [
            "## Bitstream (implemented)",
            table(
                ("primitive", "used", "available", "share"),
                implementation_rows(report.implementation),
            ),
            implementation_summary(report.implementation),
        ]
    parts += [
        f"## Resources ({report.resources.origin})",
        table(("primitive", "used", "available", "share"), resource_rows(report)),
        *timing_section(report),
        f"Feature-map memory ({report.memory.kind}): {report.memory.peak_bytes:,} of "
        f"{report.memory.capacity_bytes:,} bytes used, {report.memory.live_bytes:,} live at once "
        f"in `{report.memory.at}`.",
        "## Quantisation",
        table(("fact", "value"), quantisation_rows(report.quantisation), left=2),
        *_imported_section(report.quantisation),
        *_approximation_section(report.quantisation),
        "## The ten costliest layers (estimated)",
        table(COSTLIEST_HEAD, costliest_rows(report), left=3),
        "## All layers, in the order of the program (estimated)",
        table(LAYER_HEAD, layer_rows(report), left=LAYER_LEFT),
        *_segment_section(report),
        *_skipping_section(report),
        NOT_ON_HARDWARE,
    ]
    return "\n\n".join(parts) + "\n"


def _segment_section(report: Report) -> list[str]:
    """Empty for a network that fits."""
    rows = segment_rows(report.segments)
    return ["## Maps in DRAM (counted)", SEGMENT_TEXT, table(SEGMENT_HEAD, rows)] if rows else []


SKIPPING_HEAD = ("layer", "weight slots", "skipped", "share", "MACs skipped", "bytes saved")


def skipping_rows(report: Report) -> list[tuple[str, ...]]:
    """One row for each layer with skipped slots, and the sum; none for a dense network."""
    layers = [x for x in report.layers if x.skipped_slots]
    figures = [(x.name, x.slots, x.skipped_slots, x.skipped_macs, x.skipped_bytes) for x in layers]
    if figures:
        every = [x for x in report.layers if x.slots]
        slots = sum(x.slots for x in every)
        left_out = sum(x.skipped_slots for x in layers)
        macs, saved = (sum(getattr(x, f"skipped_{n}") for x in layers) for n in ("macs", "bytes"))
        figures.append(("all layers", slots, left_out, macs, saved))
    return [
        (name, f"{slots:,}", f"{skipped:,}", f"{100 * skipped / slots:.1f} %", f"{macs:,}",
         f"{saved:,}")
        for name, slots, skipped, macs, saved in figures
    ]  # fmt: skip


def skipping_summary(report: Report) -> str:
    """Effective and executed work in one sentence."""
    macs, skipped = report.model.macs, report.estimate.skipped_macs
    return (
        f"Of {macs:,} multiply-accumulates {macs - skipped:,} are executed: the others belong to "
        "weight slots of zeros, which take neither cycles nor bytes and count as no work."
    )


def _skipping_section(report: Report) -> list[str]:
    """Empty for a dense network."""
    rows = skipping_rows(report)
    if not rows:
        return []
    return [
        f"## Zero skipping ({report.estimate.kind})",
        skipping_summary(report),
        table(SKIPPING_HEAD, rows, left=1),
    ]


def deviation_lines(facts: dict, limit: int = 20) -> list[str]:
    """What a model that came quantised could not keep, one line each, at most `limit` and a count.

    facts: of the quantiser; empty for a float model.
    """
    return _lines(facts.get("imported", []), limit)


def approximation_lines(facts: dict, limit: int = 20) -> list[str]:
    """Where the engine computes something slightly different from the model, apart from rounding
    to 8 or 16 bits: one line each, at most `limit` and a count."""
    return _lines(facts.get("approximations", []), limit)


def _lines(found: list[dict], limit: int) -> list[str]:
    lines = [f"{d['where']}: {d['reason']}" for d in found[:limit]]
    if len(found) > limit:
        lines.append(f"and {len(found) - limit} more, all in report.json")
    return lines


def _imported_section(facts: dict) -> list[str]:
    """Empty for a float model."""
    if "imported" not in facts:
        return []
    lines = [f"- {line}" for line in deviation_lines(facts)]
    return [
        "Differences from the quantisation that came with the model:",
        "\n".join(lines) or "- none",
    ]


def _approximation_section(facts: dict) -> list[str]:
    """Empty where everything is exact up to quantisation."""
    lines = [f"- {line}" for line in approximation_lines(facts)]
    return ["Approximations beside quantisation:", "\n".join(lines)] if lines else []


# Of facts whose names alone do not say enough, the others are their own.
QUANTISATION_TITLES = {
    "calibration_images": "pictures for the ranges of the maps",
    "compensated": "rounding errors of weights compensated in later ones",
    "predicted_activation_db": "SQNR of the result from rounding maps alone, expected, dB",
    "sp2_mac_share": "share of MACs in SP2 columns",
    "wide_mac_share": "share of MACs on 16-bit maps",
    "wide_tensors": "maps of 16 bits",
}


def quantisation_rows(facts: dict) -> list[tuple[str, str]]:
    """(fact, value) of the quantiser."""
    rows = []
    for key, value in facts.items():
        if value is None or isinstance(value, dict) or key in ("imported", "approximations"):
            continue  # unknown; long tables stay in report.json, deviations have lists of their own
        if key.endswith("_share"):
            text = f"{100 * value:.3g} %"
        elif isinstance(value, float):
            text = f"{value:.4g}"
        elif isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, list):
            text = ", ".join(str(v) for v in value) or "none"
        else:
            text = str(value)
        rows.append((QUANTISATION_TITLES.get(key, key.replace("_", " ")), text))
    return rows
