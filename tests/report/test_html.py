"""report.html without a browser: structure, figures, no way out to the network."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import vl_convert

from fpga_gen.report import Report
from fpga_gen.report.breakdown import breakdown
from fpga_gen.report.chart_parts import VEGA_LITE
from fpga_gen.report.charts import all_charts
from fpga_gen.report.html import render_html, vega_bundle
from fpga_gen.report.markdown import render_markdown
from fpga_gen.report.timing import PathFacts, TimingFacts
from tests.report.conftest import HOSTILE

VOID = {"meta", "link", "br", "img", "input", "hr"}
SECTIONS = {
    "summary", "frame", "resources", "roofline-section", "costliest", "layers", "memory-section",
    "timeline-section", "accuracy", "quantisation",
}  # fmt: skip
CHARTS = {"roofline", "utilisation", "cycles", "dram", "memory", "timeline"}


class Page(HTMLParser):
    """Checks nesting; collects identifiers, attributes, table rows by section, and specs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[tuple[str, str]] = []  # tag, id
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.texts: dict[str, str] = {}
        self.specs: dict[str, dict] = {}
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        known = dict(attrs)
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if "id" in known:
            self.ids.append(known["id"])
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")
        if tag not in VOID:
            self.stack.append((tag, known.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack[-1][0] == tag, f"</{tag}> closes <{self.stack[-1][0]}>"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        tag, name = self.stack[-1] if self.stack else ("", "")
        if tag == "script" and name.startswith("spec-"):
            self.specs[name.removeprefix("spec-")] = json.loads(data)
        if tag in ("td", "th"):
            self.rows[self.section][-1][-1] += data
        if tag not in ("script", "style"):
            self.texts[self.section] = self.texts.get(self.section, "") + data

    @property
    def section(self) -> str:
        """The innermost section or identified table."""
        names = [n for t, n in self.stack if n and t in ("section", "table")]
        return names[-1] if names else ""


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_every_section_and_chart_is_there(evaluated: Report, compiled: Report):
    for report in (evaluated, compiled):
        page = Page(render_html(report))
        assert set(page.ids) >= SECTIONS
        assert len(page.ids) == len(set(page.ids))
        assert set(page.specs) == CHARTS
        targets = {v for _, k, v in page.attributes if k == "href"}
        assert targets <= {f"#{name}" for name in page.ids}


def test_figures_equal_report_json(compiled: Report):
    facts, page = compiled.to_dict(), Page(render_html(compiled))
    cells = {row[0]: row[1:] for row in page.rows["frame"][1:]}
    assert number(cells["cycles"][0]) == facts["estimate"]["cycles"]
    assert number(cells["DRAM bytes read"][0]) == facts["estimate"]["dram_read_bytes"]
    layers = [(r[0], r[1], *map(number, (r[4], r[5], r[7], r[8]))) for r in page.rows["layers"][1:]]
    assert layers == [
        (x["name"], x["op"], x["macs"], x["cycles"], x["dram_bytes"], x["dram_bound_bytes"])
        for x in facts["layers"]
    ]
    maps = [(r[0], *map(number, r[1:])) for r in page.rows["maps"][1:]]
    assert maps == [
        (m["name"], m["first_byte"], m["bytes"], m["start"], m["end"])
        for m in facts["timeline"]["maps"]
    ]
    activities = [(r[0], r[1], *map(number, r[2:])) for r in page.rows["activities"][1:]]
    assert activities == [
        (
            a["layer"], a["op"], a["start"], a["end"], a["stall_weights"], a["stall_drain"],
            a["read_bytes"], a["write_bytes"],
        )
        for a in facts["timeline"]["activities"]
    ]  # fmt: skip
    primitives = sorted(tuple(map(number, r[1:3])) for r in page.rows["resources"][1:])
    entries = [v for v in facts["resources"].values() if isinstance(v, dict)]
    assert primitives == sorted((v["used"], v["available"]) for v in entries if v["available"])
    shares = [number(r[1]) for r in page.rows["breakdown"][1:]]
    assert shares == [s.cycles for s in breakdown(compiled)]


def test_charts_hold_every_layer_and_map(compiled: Report, large: Report):
    for report in (compiled, large):
        facts, specs = report.to_dict(), Page(render_html(report)).specs
        for name in ("utilisation", "cycles", "dram"):
            values = specs[name]["data"]["values"]
            assert [v["layer"] for v in values] == [x["name"] for x in facts["layers"]]
            assert len({v["row"] for v in values}) == len(values)  # equal names stay apart
        assert [v["utilisation"] for v in specs["utilisation"]["data"]["values"]] == [
            x["utilisation"] for x in facts["layers"]
        ]
        assert [(v["first"], v["last"]) for v in specs["memory"]["data"]["values"]] == [
            (m["first_byte"], m["first_byte"] + m["bytes"]) for m in facts["timeline"]["maps"]
        ]


@pytest.mark.parametrize("name", sorted(CHARTS))
def test_chart_draws_one_mark_for_each_fact(
    evaluated: Report, compiled: Report, large: Report, name: str
):
    for report in (evaluated, compiled, large):
        chart = all_charts(report)[name]
        svg = vl_convert.vegalite_to_svg({**chart.spec, "width": 900}, vl_version=VEGA_LITE)
        drawn = Counter(re.findall(r'aria-roledescription="([^"]*)"', svg))
        layers, activities = report.layers, report.timeline.activities
        expected = {
            "roofline": {"circle": sum(bool(x.macs) for x in layers), "point": 1, "line mark": 1},
            "utilisation": {"bar": len(layers)},
            "cycles": {"bar": len(layers), "tick": len(layers) if report.simulation else 0},
            "dram": {
                "circle": sum(x.dram_bytes > 0 for x in layers),
                "tick": sum(x.dram_bound_bytes > 0 for x in layers),
            },
            "memory": {"rect mark": len(report.timeline.maps)},
            "timeline": {
                "rect mark": sum(a.op != "end" for a in activities)
                + (len(activities) if report.simulation else 0)
            },
        }[name]
        assert {kind: drawn[kind] for kind in expected} == expected
        assert "NaN" not in svg


def test_nothing_comes_from_elsewhere(evaluated: Report):
    text = render_html(evaluated)
    page = Page(text)
    assert not [a for a in page.attributes if a[1] in ("src", "srcset", "action", "data")]
    assert not [a for a in page.attributes if a[0] in ("link", "iframe", "img", "base")]
    policy = next(v for t, k, v in page.attributes if t == "meta" and v.startswith("default-src"))
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    own = text.replace(vega_bundle(), "")
    assert "://" not in own
    assert "@import" not in own
    assert "url(" not in own


def test_names_cannot_leave_their_place(large: Report):
    text = render_html(large)
    page = Page(text)
    assert HOSTILE not in text
    assert page.specs["cycles"]["data"]["values"][-3]["layer"] == HOSTILE
    assert page.rows["layers"][-3][0] == HOSTILE
    assert len([a for a in page.attributes if a[0] == "script"]) == 2 * len(CHARTS)


def test_size_with_130_layers(large: Report):
    assert len(large.layers) > 130
    assert len(render_html(large).encode()) < 2_000_000


def test_same_report_same_bytes(evaluated: Report):
    assert render_html(evaluated) == render_html(evaluated)


def test_what_was_not_done_is_said(report: Report):
    page = Page(render_html(report))
    assert "Not simulated yet" in page.texts["frame"]
    assert "Not evaluated yet" in page.texts["accuracy"]
    assert "not run on hardware" in page.texts["resources"]
    assert "Nothing here was measured on a board" in page.texts["summary"]


def test_simulation_and_evaluation_show(evaluated: Report):
    page = Page(render_html(evaluated))
    assert page.rows["frame"][1] == ["cycles", "1,000", "1,010"]
    assert "297,029.7" in page.texts["summary"]
    assert page.rows["layers"][2][-1] == "765"  # simulated cycles of the convolution
    assert page.rows["accuracy"][2][:4] == [
        "integer reference", "integer reference", "4 of 4", "0.9079",
    ]  # fmt: skip
    assert "worst.png" in page.texts["accuracy"]
    assert "mul_2" in page.texts["accuracy"]
    broken = replace(evaluated, simulation=replace(evaluated.simulation, bit_exact=False))
    assert "DIFFERENT FROM" in Page(render_html(broken)).texts["frame"]


def test_fit_is_told(report: Report):
    def card(**shares: float) -> str:
        available = report.resources.available
        used = replace(
            report.resources.used, **{k: int(v * getattr(available, k)) for k, v in shares.items()}
        )
        changed = replace(report, resources=replace(report.resources, used=used))
        return " ".join(Page(render_html(changed)).texts["summary"].split())

    room = {"luts": 0.7, "flip_flops": 0.3, "dsps": 0.9, "bram36": 0.5, "uram": 0.9}
    assert "Fits yes" in card(**room)
    assert "Fits tightly above the recommended share: DSPs" in card(**{**room, "dsps": 0.98})
    assert "Fits no too little: LUTs" in card(**{**room, "luts": 1.2})


def test_depth_of_the_logic_is_told(report: Report):
    assert "fpga-gen synth" in Page(render_html(report)).texts["resources"]
    timing = TimingFacts(6, "array.slot", "array.sum", 3, 64, 70, "array.go")
    text = Page(render_html(replace(report, timing=timing))).texts["resources"]
    assert "6 levels from array.slot to array.sum" in text
    assert "3 nets with more than 64 loads, the widest 70 (array.go)" in text
    made_up = replace(timing, end="loader/ring.$abc$12$auto$x.cc:3:b$97 (RAMB36E2)")
    text = Page(render_html(replace(report, timing=made_up))).texts["resources"]
    assert "from array.slot to loader/ring (RAMB36E2);" in text


def test_the_first_screen_tells_the_clock_and_what_the_estimate_thinks_of_it(report: Report):
    mhz = f"{report.clock_mhz:g} MHz assumed"
    summary = Page(render_html(report)).texts["summary"]
    assert mhz in summary
    assert "no estimate yet" in summary
    assert f"| clock | {mhz}" in render_markdown(report)
    clocks = {"300": 290.0, "400": 270.0, "500": 233.0}
    path = PathFacts("control", "engine clock", "a", "b", 1200, 7, 304.8, clocks)
    timing = TimingFacts(
        6, "a", "b", 0, 64, clock_mhz=300, allowed_ps_per_hop=304.8, wanted_ps_per_hop=500,
        mhz_at_ps_per_hop=clocks, pairs=900, tight_pairs=7, paths=(path,), classes=(path,),
        delays="constants of this project",
    )  # fmt: skip
    estimated = replace(report, timing=timing)
    texts = Page(render_html(estimated)).texts
    assert "out of reach, the worst path leaves 305 ps for each net hop" in texts["summary"]
    assert "7 of 900 pairs of registers allow less than 500" in texts["resources"]
    assert "out of reach, the worst path leaves 305 ps" in render_markdown(estimated)
    assert Report.from_dict(estimated.to_dict()).timing == timing
    assert estimated.to_dict()["timing"]["paths"][0]["from"] == "a"


def test_the_costliest_layers_come_first(large: Report):
    page = Page(render_html(large))
    rows = page.rows["costliest"][1:]
    assert len(rows) == 10
    cycles = [number(row[3]) for row in rows]
    assert cycles == sorted((layer.cycles for layer in large.layers), reverse=True)[:10]
    assert rows[0][4] == f"{100 * cycles[0] / large.estimate.cycles:.1f} %"


def test_a_layer_has_the_name_that_the_model_gives_it(report: Report):
    conv = replace(report.layers[1], label="base.0.conv", shape=(42, 176, 176))
    page = Page(render_html(replace(report, layers=(report.layers[0], conv, report.layers[2]))))
    assert page.rows["costliest"][1][:3] == ["base.0.conv", "conv", "42 x 176 x 176"]
    assert "base.0.conv" in str(page.specs["cycles"])


def test_pictures_stand_in_the_page(evaluated: Report):
    pictures = {"simulated_frame.png": b"one", "evaluation.png": b"two"}
    page = Page(render_html(evaluated, pictures))
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert sources == ["data:image/png;base64,b25l", "data:image/png;base64,dHdv"]
    assert not [a for a in Page(render_html(evaluated)).attributes if a[0] == "img"]


def test_what_is_not_known_says_how_to_find_out(report: Report):
    page = Page(render_html(report))
    assert "fpga-gen evaluate DIR" in page.texts["summary"]
    assert "3.33 ms" not in page.texts["summary"]
    slow = replace(report, estimate=replace(report.estimate, fps=300.0))
    assert "3.33 ms" in Page(render_html(slow)).texts["summary"]
    known = replace(report.resources, kind="synthesised", source="from the table of mapped blocks")
    text = Page(render_html(replace(report, resources=known))).texts["resources"]
    assert "synthesised, from the table of mapped blocks" in text
