"""Two builds side by side: figures of a frame, resources, accuracy, and layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from fpga_gen.report.facts import LayerFacts, Performance, Report
from fpga_gen.report.implementation import SITE_TITLES

FIGURE_HEAD = ("figure", "A", "B", "B - A", "B / A")
LAYER_HEAD = ("layer", "op", "cycles, A", "cycles, B", "B - A", "DRAM bytes, A", "DRAM bytes, B")


@dataclass(frozen=True)
class FigurePair:
    """A figure of two builds; None where one has none. digits: behind the point."""

    title: str
    a: float | None
    b: float | None
    digits: int = 0

    @property
    def cells(self) -> tuple[str, ...]:
        """Text of `FIGURE_HEAD`."""
        a, b = self.a, self.b
        change = "-" if a is None or b is None else f"{b - a:+,.{self.digits}f}"
        ratio = "-" if a is None or b is None or a == 0 else f"{b / a:.3f}"
        return self.title, *(self._text(v) for v in (a, b)), change, ratio

    def _text(self, value: float | None) -> str:
        return "-" if value is None else f"{value:,.{self.digits}f}"


@dataclass(frozen=True)
class LayerPair:
    """A layer of two builds, of the same name and operation; None where one lacks it."""

    title: str
    op: str
    a: LayerFacts | None
    b: LayerFacts | None

    @property
    def change(self) -> int:
        """Cycles that B takes more."""
        return (self.b.cycles if self.b else 0) - (self.a.cycles if self.a else 0)

    @property
    def cells(self) -> tuple[str, ...]:
        """Text of `LAYER_HEAD`."""

        def text(read: Callable[[LayerFacts], int]) -> list[str]:
            return ["-" if layer is None else f"{read(layer):,}" for layer in (self.a, self.b)]

        cycles, moved = text(lambda x: x.cycles), text(lambda x: x.dram_bytes)
        return self.title, self.op, *cycles, f"{self.change:+,}", *moved


@dataclass(frozen=True, repr=False)
class BuildComparison:
    """Two reports, figure by figure. layers: the largest change of cycles first."""

    a: Report
    b: Report
    figures: tuple[FigurePair, ...]
    layers: tuple[LayerPair, ...]

    @property
    def titles(self) -> tuple[str, str]:
        """What A and B are."""
        return name_of(self.a), name_of(self.b)

    def to_dict(self) -> dict:
        """JSON-able form."""
        return {
            "a": self.titles[0],
            "b": self.titles[1],
            "figures": [{"figure": p.title, "a": p.a, "b": p.b} for p in self.figures],
            "layers": [
                {
                    "layer": p.title,
                    "op": p.op,
                    "a": None if p.a is None else asdict(p.a),
                    "b": None if p.b is None else asdict(p.b),
                }
                for p in self.layers
            ],
        }

    def __repr__(self) -> str:
        return f"<comparison: {self.titles[0]} with {self.titles[1]}>"

    def _repr_html_(self) -> str:
        from fpga_gen.report.notebook import comparison_section

        return comparison_section(self)


def compare_reports(a: Report, b: Report) -> BuildComparison:
    """Compares two reports; the builds may be of different networks and boards."""
    return BuildComparison(a, b, tuple(_figures(a, b)), tuple(_layers(a, b)))


def name_of(report: Report) -> str:
    """Network, input, board, engine and scheme of a build."""
    model, array = report.model, report.array
    size = " x ".join(map(str, model.input_shape))
    fast = ", double clock" if array.double_clock else ""
    fast += ", two exit pixels" if array.exit_pixels == 2 else ""
    scheme = report.quantisation.get("scheme", "unknown scheme")
    return f"{model.name} of {size} on {report.board.name} ({array.option}{fast}, {scheme})"


def _figures(a: Report, b: Report) -> Iterable[FigurePair]:
    for kind in ("estimated", "simulated"):
        one, two = (r.estimate if kind == "estimated" else r.simulation for r in (a, b))
        if one is None and two is None:
            continue
        yield from _performance(kind, one, two)
    for key, title in SITE_TITLES.items():
        used = [asdict(r.resources.used)[key] for r in (a, b)]
        if any(used):
            kinds = dict.fromkeys((a.resources.kind, b.resources.kind))
            yield FigurePair(f"{title} ({', '.join(kinds)})", *used)
    yield FigurePair("bytes of feature-map memory used", a.memory.peak_bytes, b.memory.peak_bytes)
    scores = [{s.source: s for s in (r.accuracy.scores if r.accuracy else ())} for r in (a, b)]
    for source in ("float", "integer"):
        found = [s.get(source) for s in scores]
        if any(found):
            for name in ("Dice", "IoU"):
                values = [None if s is None else getattr(s, name.lower()) for s in found]
                yield FigurePair(f"mean {name}, {source}", *values, digits=4)


def _performance(kind: str, a: Performance | None, b: Performance | None) -> Iterable[FigurePair]:
    rows: tuple[tuple[str, Callable[[Performance], float], int], ...] = (
        ("cycles", lambda p: p.cycles, 0),
        ("frames per second", lambda p: p.fps, 1),
        ("latency, ms", lambda p: p.latency_ms, 2),
        ("MAC utilisation, %", lambda p: 100 * p.utilisation, 1),
        ("DRAM bytes read", lambda p: p.dram_read_bytes, 0),
        ("DRAM bytes written", lambda p: p.dram_write_bytes, 0),
    )
    for title, read, digits in rows:
        one, two = (None if p is None else read(p) for p in (a, b))
        yield FigurePair(f"{title} ({kind})", one, two, digits)


def _layers(a: Report, b: Report) -> list[LayerPair]:
    """Layers by name and operation; one name that stands twice is counted through."""
    sides = [_by_key(report) for report in (a, b)]
    pairs = []
    for key in dict.fromkeys((*sides[0], *sides[1])):
        one, two = (side.get(key) for side in sides)
        known = one or two
        assert known is not None
        pairs.append(LayerPair(known.title, known.op, one, two))
    return sorted(pairs, key=lambda pair: -abs(pair.change))


def _by_key(report: Report) -> dict[tuple[str, str, int], LayerFacts]:
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for layer in report.layers:
        key = (layer.name, layer.op)
        found[(*key, seen[key])] = layer
        seen[key] += 1
    return found
