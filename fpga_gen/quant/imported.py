"""Models that were quantised elsewhere: which scales and weights the engine can take over.

A map keeps its imported scale if it has 8 bits and its zero point is the middle or the lower end
of its integer range ('i8' and 'u8'). A filter keeps its int8 weights if it runs on a DSP column
and all its inputs have one scale. Whatever is not kept becomes a `Deviation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from fpga_gen.graph.ir import Concat, Graph, TensorHint
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen.quant.layer import FoldedConv
from fpga_gen.quant.numerics import DSP, I8, SP2, U8, Format
from fpga_gen.quant.ranges import pool_roots, segments_of, stored_tensors

LEVEL_TOLERANCE = 0.01  # of a step: float32 weights are within 1e-5, rewritten ones anywhere
SCALE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Deviation:
    """A map or layer that is not computed with the model's own quantisation, and why."""

    where: str
    reason: str


@dataclass(frozen=True)
class ImportedScales:
    """kept: (scale, format) by stored tensor; hinted: stored tensors that came with a scale of
    their own, own: those of them that keep it."""

    kept: dict[str, tuple[float, Format]]
    hinted: tuple[str, ...]
    own: tuple[str, ...]
    deviations: tuple[Deviation, ...]


@dataclass(frozen=True, eq=False)
class ImportedWeights:
    """Integer weights of one layer as they came. levels: (F, Kc); fixed: (F,) filters whose
    scale the engine can keep; reason: why others cannot ('' if all can)."""

    levels: np.ndarray
    fixed: np.ndarray
    reason: str


def stored_format(hint: TensorHint) -> Format | None:
    """The engine's format with the same levels and the same scale; None if there is none."""
    if hint.bits != 8:
        return None
    middle, least = (0, -128) if hint.signed else (128, 0)
    return {middle: I8, least: U8}.get(hint.zero_point)


def hint_type(hint: TensorHint) -> str:
    """For example 'uint8'."""
    return f"{'int' if hint.signed else 'uint'}{hint.bits}"


def import_scales(graph: Graph, wide: Sequence[str]) -> ImportedScales:
    """Scales of a graph with hints that the engine keeps; `wide`: maps made 16 bit by option."""
    assert graph.hints is not None
    hints, roots, stored = graph.hints.tensors, pool_roots(graph), stored_tensors(graph)
    deviations = [Deviation(*note) for note in graph.hints.notes]
    kept: dict[str, tuple[float, Format]] = {}
    leaders: dict[str, TensorHint] = {}
    wide_roots = {roots[name] for name in wide}
    for name in stored:
        hint, root = hints.get(name), roots[name]
        if hint is None:
            continue
        if leaders.setdefault(root, hint) != hint:
            deviations.append(
                Deviation(name, f"a max-pool keeps the scale of its input '{root}', not its own")
            )
            continue
        fmt = stored_format(hint)
        if root in wide_roots:
            deviations.append(Deviation(name, "made 16 bit by an option: scale calibrated anew"))
        elif fmt is None:
            deviations.append(
                Deviation(
                    name,
                    f"zero point {hint.zero_point} of {hint_type(hint)} cannot be represented: "
                    "scale calibrated anew",
                )
            )
        else:
            kept[root] = (hint.scale, fmt)
    kept = {name: kept[roots[name]] for name in stored if roots[name] in kept}
    for name in stored:
        if hints and roots[name] not in leaders:
            deviations.append(Deviation(name, "came without a scale: calibrated"))
    deviations += _vanished(graph, set(stored), kept)
    hinted = tuple(n for n in stored if n in hints)
    own = tuple(n for n in hinted if n in kept and hints[n] == leaders[roots[n]])
    return ImportedScales(kept, hinted, own, tuple(deviations))


def _vanished(
    graph: Graph, stored: set[str], kept: dict[str, tuple[float, Format]]
) -> list[Deviation]:
    """Hints of maps that the engine does not store: concatenations and fused maps."""
    assert graph.hints is not None
    segments = segments_of(graph)
    concats = {n.output for n in graph.nodes if isinstance(n, Concat)}
    found = []
    for name, hint in graph.hints.tensors.items():
        if name in concats:
            own = (hint.scale, stored_format(hint))
            parts = [kept.get(s) for s in segments[name]]
            if any(p is None or not _alike(p[0], own[0]) for p in parts):
                reason = "a concatenation is read in place: its parts keep their own scales"
                found.append(Deviation(name, reason))
        elif name not in stored and graph.hints.same.get(name) not in stored:
            found.append(Deviation(name, "fused into the layer that reads it: not rounded here"))
    return found


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= SCALE_TOLERANCE * b


def import_weights(layer: FoldedConv) -> tuple[FoldedConv, ImportedWeights | str]:
    """The layer with imported scales for the filters that can have them, and their integers.

    The second result is the reason if the layer has no imported weights (any more).
    """
    terms = layer.node.terms
    if any(t.grid is None for t in terms):
        return layer, "weights did not come as 8-bit integers: quantised here"
    steps = np.concatenate(
        [np.repeat(np.asarray(t.grid)[:, None], t.weight[0].size, 1) for t in terms], 1
    )
    flat = np.concatenate([t.weight.reshape(len(steps), -1) for t in terms], 1)
    exact = flat.astype(np.float64) / steps
    levels = np.rint(exact)
    if np.abs(exact - levels).max(initial=0) > LEVEL_TOLERANCE:
        return layer, "a rewrite of the network changed its weights: quantised here"
    if levels.min(initial=0) < -128 or levels.max(initial=0) > 127:
        reach = int(np.abs(levels).max())
        return layer, f"weights reach {reach} steps, more than 8 signed bits hold: quantised here"
    folded = steps * layer.unit[layer.columns]
    used = levels != 0
    low = np.where(used, folded, np.inf).min(1)
    high = np.where(used, folded, 0.0).max(1)
    empty = ~used.any(1)
    scale = np.where(empty, folded[:, 0], high)
    fixed = empty | (high - low <= SCALE_TOLERANCE * high)
    scales, errors = dict(layer.scales), dict(layer.errors)
    scales[DSP] = np.where(fixed, scale, scales[DSP])
    errors[DSP] = np.where(fixed, 0.0, errors[DSP])
    reason = "" if fixed.all() else "inputs have different scales: weights folded and rounded again"
    imported = ImportedWeights(levels.astype(np.int16), fixed, reason)
    return replace(layer, scales=scales, errors=errors, fixed=fixed), imported


def compare_weights(
    node: QConv, out: QTensor, imported: ImportedWeights
) -> tuple[int, list[Deviation]]:
    """(filters that kept their integers, what became of the others) of a finished layer."""
    got = np.concatenate([t.weight.reshape(t.weight.shape[0], -1) for t in node.terms], 1)
    kinds = np.asarray(out.kinds)
    equal = (got == imported.levels).all(1) & imported.fixed & (kinds == DSP)
    low = (imported.levels == -128) & (imported.fixed & (kinds == DSP))[:, None]
    clipped = low.any(1) & (np.where(low, -127, imported.levels) == got).all(1)
    total, found = len(kinds), []
    if imported.reason:
        count = int((~imported.fixed & (kinds == DSP)).sum())
        found.append((count, f"{imported.reason} ({count} of {total} filters)"))
    count = int((kinds == SP2).sum())
    found.append((count, f"{count} of {total} filters run on SP2 columns: rounded again"))
    count = int(low[clipped].sum())
    found.append((count, f"{count} weights of -128 became -127"))
    count = int(((kinds == DSP) & imported.fixed & ~equal & ~clipped).sum())
    found.append((count, f"{count} of {total} filters rescaled to keep 32-bit accumulators"))
    return int(equal.sum()), [Deviation(node.name, reason) for n, reason in found if n]


class ImportLog:
    """Collects what one run of the quantiser keeps of an imported quantisation."""

    def __init__(self, scales: ImportedScales) -> None:
        self.scales = scales
        self.deviations = list(scales.deviations)
        self.weights: dict[str, ImportedWeights] = {}
        self.kept = self.filters = 0

    def fold(self, layer: FoldedConv) -> FoldedConv:
        """The folded layer with its imported weights, if it has some."""
        layer, found = import_weights(layer)
        if isinstance(found, str):
            self.deviations.append(Deviation(layer.node.name, found))
        else:
            self.weights[layer.node.name] = found
        return layer

    def finish(self, node: QConv, out: QTensor) -> None:
        """Compare a finished layer with what was imported."""
        self.filters += out.channels
        if node.name in self.weights:
            kept, found = compare_weights(node, out, self.weights.pop(node.name))
            self.kept += kept
            self.deviations += found

    def facts(self) -> dict:
        """JSON-able entries of `QuantGraph.facts`; 'imported' is the list of deviations."""
        scales = self.scales
        return {
            "imported_scales_kept": f"{len(scales.own)} of {len(scales.hinted)}",
            "imported_filters_kept": f"{self.kept} of {self.filters}",
            "imported": [asdict(d) for d in self.deviations],
        }
