"""Models that were quantised elsewhere: which scales and weights the engine can take over.

A map keeps its imported scale if it has 8 bits and its zero point is the middle or the lower end
of its integer range ('i8' and 'u8'), or if it has 16 bits, signed and symmetric. A filter keeps its
int8 weights if its column can hold them and all its inputs have one scale. Float weights of such a
model are kept where they lie on the grid of a column once the scales of the inputs are folded in
(fpga_gen_models.qat writes them so). Whatever is not kept becomes a `Deviation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from fpga_gen.contract.column_kinds import COARSE, EXACT
from fpga_gen.contract.numerics import I8, I16, INT8, U8, Format
from fpga_gen.graph.ir import Concat, Graph, MaxPool, Select, TensorHint
from fpga_gen.quant.grids import row_grid
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen.quant.layer import FoldedConv, conv_terms, select
from fpga_gen.quant.ranges import curved_tensors, pool_roots, segments_of, stored_tensors
from fpga_gen.quant.weights import Codes

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
    """Integer weights of one layer as they came, by column kind. levels: (F, Kc); fixed: (F,)
    filters that such a column can keep; reason: why others cannot ('' if all can)."""

    levels: dict[int, np.ndarray]
    fixed: dict[int, np.ndarray]
    reason: str


def stored_format(hint: TensorHint) -> Format | None:
    """The engine's format with the same levels and the same scale; None if there is none."""
    if hint.bits == 16:
        return I16 if hint.signed and hint.zero_point == 0 else None
    if hint.bits != 8:
        return None
    middle, least = (0, -128) if hint.signed else (128, 0)
    return {middle: I8, least: U8}.get(hint.zero_point)


def hint_type(hint: TensorHint) -> str:
    """Name of the integer type, for example 'uint8'."""
    return f"{'int' if hint.signed else 'uint'}{hint.bits}"


def import_scales(graph: Graph, wide: Sequence[str]) -> ImportedScales:
    """Scales of a graph with hints that the engine keeps; `wide`: maps made 16 bit by option."""
    assert graph.hints is not None
    hints, roots, stored = graph.hints.tensors, pool_roots(graph), stored_tensors(graph)
    deviations = [Deviation(*note) for note in graph.hints.notes]
    kept: dict[str, tuple[float, Format]] = {}
    leaders: dict[str, TensorHint] = {}
    wide_roots = {roots[name] for name in wide}
    pooled = {roots[n.input] for n in graph.nodes if isinstance(n, MaxPool)}
    curved = set(curved_tensors(graph))
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
        elif fmt is I16 and root in pooled:
            deviations.append(Deviation(name, "meets a max-pool, which is 8 bit only: calibrated"))
        elif fmt is I16 and root in curved:
            deviations.append(Deviation(name, "comes out of a table of 8 bits: calibrated"))
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
        pixels = name == graph.input and graph.host_input.gain
        if hints and roots[name] not in leaders and not pixels:
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
    views = {n.output for n in graph.nodes if isinstance(n, Concat | Select)}
    found = []
    for name, hint in graph.hints.tensors.items():
        if name in views:
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


def import_weights(layer: FoldedConv, codes: Codes) -> tuple[FoldedConv, ImportedWeights | str]:
    """The layer with imported scales for the filters that can have them, and their integers.

    The second result is the reason if the layer has no imported weights (any more).
    """
    terms = layer.node.terms
    if any(t.grid is None for t in terms):
        return _on_grids(layer, codes)
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
    reason = "" if fixed.all() else "inputs have different scales: weights folded and rounded again"
    top, same = codes[EXACT.number].max_level, levels.astype(np.int16)
    if top < INT8.max_level:
        reason = reason or f"weights exceed the {top} steps of the scheme: quantised here"
    held = np.maximum(same, -INT8.max_level)  # -128 becomes -127, see `compare_weights`
    found = {kind: fixed & np.isin(held, codes[kind].levels).all(1) for kind in layer.scales}
    imported = ImportedWeights(dict.fromkeys(found, same), found, reason)
    return _with_scales(layer, dict.fromkeys(found, scale), found), imported


def _on_grids(layer: FoldedConv, codes: Codes) -> tuple[FoldedConv, ImportedWeights | str]:
    """Float weights whose rows are found on the grids of the columns."""
    grids = {kind: row_grid(layer.weight, codes[kind].levels) for kind in layer.scales}
    found = {kind: grid.found for kind, grid in grids.items()}
    on_one = np.logical_or.reduce(list(found.values()))
    if not (on_one & layer.weight.any(1)).any():
        return layer, "weights did not come as 8-bit integers: quantised here"
    reason = "" if on_one.all() else "weights lie on no grid of the columns: quantised here"
    imported = ImportedWeights({k: g.levels for k, g in grids.items()}, found, reason)
    return _with_scales(layer, {k: g.scale for k, g in grids.items()}, found), imported


def _with_scales(
    layer: FoldedConv, scale: dict[int, np.ndarray], found: dict[int, np.ndarray]
) -> FoldedConv:
    scales = {k: np.where(found[k], scale[k], s) for k, s in layer.scales.items()}
    errors = {k: np.where(found[k], 0.0, e) for k, e in layer.errors.items()}
    return replace(layer, scales=scales, errors=errors, fixed=found)


def compare_weights(
    layer: FoldedConv, node: QConv, out: QTensor, imported: ImportedWeights, depths: dict[str, int]
) -> tuple[int, list[Deviation]]:
    """(filters that kept their integers, what became of the others) of a finished layer; depths:
    channels of every map."""
    kinds = np.asarray(out.kinds)
    came = conv_terms(layer, select(kinds, imported.levels), depths)
    got, levels = (
        np.concatenate([t.weight.reshape(len(kinds), -1) for t in terms], 1)
        for terms in (node.terms, came)
    )
    fixed = select(kinds, imported.fixed)
    equal = (got == levels).all(1) & fixed
    low = (levels == -128) & fixed[:, None]
    clipped = low.any(1) & (np.where(low, -127, levels) == got).all(1)
    total, found = len(kinds), []
    if imported.reason:
        count = int((~fixed & (kinds == EXACT.number)).sum())
        found.append((count, f"{imported.reason} ({count} of {total} filters)"))
    for kind in COARSE:
        count = int((~fixed & (kinds == kind.number)).sum())
        where = f"run on {kind.title} columns: rounded again"
        found.append((count, f"{count} of {total} filters {where}"))
    count = int(low[clipped].sum())
    found.append((count, f"{count} weights of -128 became -127"))
    count = int((fixed & ~equal & ~clipped).sum())
    found.append((count, f"{count} of {total} filters rescaled to keep 32-bit accumulators"))
    return int(equal.sum()), [Deviation(node.name, reason) for n, reason in found if n]


class ImportLog:
    """Collects what one run of the quantiser keeps of an imported quantisation."""

    def __init__(self, scales: ImportedScales, codes: Codes) -> None:
        self.scales, self.codes = scales, codes
        self.deviations = list(scales.deviations)
        self.weights: dict[str, ImportedWeights] = {}
        self.kept = self.filters = 0

    def fold(self, layer: FoldedConv) -> FoldedConv:
        """The folded layer with its imported weights, if it has some."""
        layer, found = import_weights(layer, self.codes)
        if isinstance(found, str):
            self.deviations.append(Deviation(layer.node.name, found))
        else:
            self.weights[layer.node.name] = found
        return layer

    def finish(self, layer: FoldedConv, node: QConv, out: QTensor, depths: dict[str, int]) -> None:
        """Compare a finished layer with what was imported."""
        self.filters += out.channels
        if node.name in self.weights:
            imported = self.weights.pop(node.name)
            kept, found = compare_weights(layer, node, out, imported, depths)
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
