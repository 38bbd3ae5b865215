"""Post-training quantisation: float Graph -> QuantGraph.

Steps: calibrate on images; choose 16-bit maps; fold activation scales into the weights; divide
the filters among column kinds; round the weights; turn elementwise nodes into integer ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.column_kinds import COARSE, EXACT, weight_codes
from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.isa import limit
from fpga_gen.contract.numerics import I8, SCHEMES, Format
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import QuantError
from fpga_gen.graph.axis import is_identity
from fpga_gen.graph.ir import (
    ACTIVATED,
    Add,
    Concat,
    Conv,
    Graph,
    Interleave,
    MaxPool,
    Mul,
    Node,
    Resample,
    Select,
    approximations,
)
from fpga_gen.quant.calibrate import Calibration, as_picture, calibrate, synthetic_images
from fpga_gen.quant.curves import SumGrid, sum_grid
from fpga_gen.quant.imported import ImportLog, import_scales
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QInterleave,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QTensor,
    QuantGraph,
)
from fpga_gen.quant.kinds import assign_kinds, channel_gains, column_periods, rounding_cost
from fpga_gen.quant.layer import (
    ACC_LIMIT,
    FoldedConv,
    exact_multiplier,
    fold,
    quantise_conv,
    stored_epilogue,
)
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.precision import PrecisionChoice, choose_precision
from fpga_gen.quant.ranges import (
    clip_limits,
    curved_tensors,
    pool_roots,
    stored_tensors,
    tensor_formats,
)
from fpga_gen.quant.segments import sources_of
from fpga_gen.quant.weights import Codes
from fpga_gen.quant.zero_order import zero_orders

FACTOR_LIMIT = limit("factor")
SYNTHETIC_IMAGES = 8


def quantise(
    graph: Graph,
    params: EngineParams,
    images: Sequence[np.ndarray] | None,
    *,
    scheme: str = "mixed",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    options: QuantOptions = QuantOptions(),
) -> QuantGraph:
    """Quantise an optimised graph for an engine.

    A graph with hints keeps the scales and int8 weights that came with it; what cannot be kept is
    listed in facts["imported"], see quant/imported.py.

    Args:
        images: calibration images, float (C, H, W) in the model's layout and normalisation;
            None or empty: seeded synthetic images.
        scheme: a key of `numerics.SCHEMES`, which `params` must suit: filters are divided among
            the kinds of columns in the ratio of `params`.
        progress: called with one line of text per step.

    Raises:
        QuantError: bad options, non-finite values, or a layer that 32 bits cannot hold.
    """
    check_quantisable(graph, params, scheme, options)
    say = progress or (lambda line: None)
    # what each filter loses on a coarse column is measured against the most exact kind
    kinds_found = dict.fromkeys((EXACT, *params.kinds))
    codes = weight_codes(params.sp2, SCHEMES[scheme].fixed_bits, kinds_found)
    images = calibration_images(graph, images, seed)
    calibration = calibrate(graph, images, seed=seed, options=options, progress=progress)
    log = None
    if graph.hints is not None:
        if graph.hints.tensors and options.wide_tensors is None:
            # the author of the model chose 8 bits: none become 16 unless an option says so
            options = replace(options, wide_tensors=())
        scales = import_scales(graph, options.wide_tensors or ())
        log = ImportLog(scales, codes)
    tensors, choice = _tensors(graph, calibration, images, options, seed, progress)
    if log is not None:
        for name, (scale, fmt) in log.scales.kept.items():
            tensors[name] = replace(tensors[name], scale=scale, format=fmt)
    work = _Work(graph, codes, options, calibration, log, say)
    folded, costs = work.fold(tensors)
    kinds, periods = assign_kinds(graph, params, costs), column_periods(graph, params)
    orders = zero_orders(graph, params, costs) if options.zero_order else {}
    kinds |= {n: order.kinds for n, order in orders.items() if n in tensors}
    tensors = {
        n: replace(
            t,
            kinds=kinds[n],
            period=periods[n],
            positions=orders[n].positions if n in orders else (),
        )
        for n, t in tensors.items()
    }
    nodes = work.round(folded, tensors)
    facts = {
        "scheme": scheme,
        "seed": seed,
        "calibration_images": len(images),
        "compensated": options.compensate,
        **mac_shares(nodes, tensors),
        "wide_tensors": sorted(n for n, t in tensors.items() if t.format.bits == 16),
        **choice_facts(choice),
        "approximations": [{"where": n, "reason": r} for n, r in approximations(graph)],
        **(log.facts() if log is not None else {}),
    }
    return QuantGraph(
        graph.name,
        graph.input,
        graph.outputs,
        tensors,
        tuple(nodes),
        params.sp2,
        graph.host_input,
        graph.host_ops,
        graph.output_names,
        facts,
        graph.results,
    )


def choose_wide_maps(
    graph: Graph,
    images: Sequence[np.ndarray] | None,
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    options: QuantOptions = QuantOptions(),
) -> PrecisionChoice:
    """Which maps `quantise` would give 16 bits, without quantising; arguments as there."""
    images = calibration_images(graph, images, seed)
    calibration = calibrate(
        graph, images, seed=seed, options=options, progress=progress, ranges_only=True
    )
    return _tensors(graph, calibration, images, options, seed, progress)[1]


def calibration_images(
    graph: Graph, images: Sequence[np.ndarray] | None, seed: int
) -> list[np.ndarray]:
    """The calibration images, float32; synthetic ones where there are none."""
    if not images:
        drawn = synthetic_images(graph.host_input.model_shape, SYNTHETIC_IMAGES, seed)
        images = [as_picture(image, graph.host_input) for image in drawn]
    return [np.asarray(i, np.float32) for i in images]


def choice_facts(choice: PrecisionChoice) -> dict:
    """What a report says of the choice of the 16-bit maps."""
    damage = {n: -10 * float(np.log10(max(d, 1e-30))) for n, d in sorted(choice.damage.items())}
    return {
        "wide_mac_share": choice.wide_macs,
        "predicted_activation_db": choice.predicted_db,
        "damage_db": damage,
    }


@dataclass(frozen=True, eq=False)
class _Work:
    """What the steps on all layers have in common."""

    graph: Graph
    codes: Codes
    options: QuantOptions
    calibration: Calibration
    log: ImportLog | None
    say: Callable[[str], None]

    def fold(
        self, tensors: dict[str, QTensor]
    ) -> tuple[dict[str, FoldedConv], dict[str, dict[int, np.ndarray]]]:
        """(convolutions with the scales in their weights, by name; what each filter loses on the
        coarse kinds of columns, by output)."""
        segments, gains = sources_of(self.graph), channel_gains(self.graph)
        folded, costs = {}, {}
        for node in self.graph.nodes:
            if not isinstance(node, Conv):
                continue
            self.say(f"search scales of '{node.name}'")
            names = tuple(segments[t.input] for t in node.terms)
            moments = self.calibration.moments[node.name]
            layer = fold(node, names, tensors, moments, self.codes, self.options)
            if self.log is not None:
                layer = self.log.fold(layer)
            folded[node.name] = layer
            exact = layer.errors[EXACT.number]
            costs[node.output] = {
                kind: rounding_cost(error - exact, layer.signal, gains[node.output])
                for kind, error in layer.errors.items()
                if kind != EXACT.number
            }
        return folded, costs

    def round(self, folded: dict[str, FoldedConv], tensors: dict[str, QTensor]) -> list[QNode]:
        """The integer nodes; `folded` and the moments are used up."""
        nodes: list[QNode] = []
        depths = {name: t.channels for name, t in tensors.items()}
        for node in self.graph.nodes:
            if isinstance(node, Concat | Select):
                continue
            if not isinstance(node, Conv):
                nodes.append(_elementwise(node, tensors, self.sums(node, tensors)))
                continue
            self.say(f"round weights of '{node.name}'")
            layer, out = folded.pop(node.name), tensors[node.output]
            moments = self.calibration.moments.pop(node.name)
            sums = self.sums(node, tensors)
            conv = quantise_conv(layer, out, moments, self.codes, self.options, depths, sums)
            nodes.append(conv)
            if self.log is not None:
                self.log.finish(layer, conv, out, depths)
        return nodes

    def sums(self, node: Node, tensors: dict[str, QTensor]) -> SumGrid:
        """Grid of a node's requantised sums; of a max-pool that of its output, of a copy of a map
        of signed bytes that of the map: nothing is rounded in front of the table."""
        out = tensors[node.output]
        if not isinstance(node, ACTIVATED) or node.activation.is_clip:
            return SumGrid(out.scale)
        if isinstance(node, Resample) and is_identity(node.y) and is_identity(node.x):
            source = tensors[node.input]
            if source.format == I8:
                return SumGrid(source.scale)
        sample = self.calibration.sums.get(node.output)
        return sum_grid(out.name, node.activation, out, sample, isinstance(node, Conv))


def check_quantisable(
    graph: Graph, params: EngineParams, scheme: str, options: QuantOptions
) -> None:
    """QuantError if scheme, engine and options do not fit each other, or a weight is not finite."""
    if scheme not in SCHEMES:
        raise QuantError(f"unknown scheme '{scheme}': use one of {', '.join(SCHEMES)}")
    chosen = SCHEMES[scheme]
    for kind in params.kinds:
        if not chosen.allows(kind.number):
            raise QuantError(
                f"scheme '{scheme}' has no filters for {kind.title} columns, but the engine has "
                f"{kind.count(params)}: use scheme 'mixed' or an engine without {kind.title} "
                "columns"
            )
    if chosen.sp2_code not in (None, params.sp2_code):
        raise QuantError(
            f"scheme '{scheme}' needs the SP2 code {chosen.sp2_code}, the engine has "
            f"{params.sp2_code}: change sp2_code of the engine"
        )
    for node in graph.nodes:
        if isinstance(node, Conv):
            arrays = [node.bias, *(t.weight for t in node.terms)]
            if not all(np.isfinite(a).all() for a in arrays):
                raise QuantError(
                    f"layer '{node.name}': weights or bias are not finite numbers: export a "
                    "checkpoint that trained without overflow"
                )
    if options.wide_tensors is not None:
        stored, roots = set(stored_tensors(graph)), pool_roots(graph)
        pooled = {roots[n.input] for n in graph.nodes if isinstance(n, MaxPool)}
        curved = set(curved_tensors(graph))
        for name in options.wide_tensors:
            if name not in stored:
                raise QuantError(f"wide_tensors: '{name}' is not a stored tensor of the network")
            if name == graph.input and graph.host_input.gain:
                raise QuantError(f"wide_tensors: '{name}' is a picture of 8-bit pixels")
            if roots[name] in pooled:
                raise QuantError(f"wide_tensors: '{name}' meets a max-pool, which is 8 bit only")
            if roots[name] != name:
                raise QuantError(f"wide_tensors: '{name}' has the format of '{roots[name]}'")
            if name in curved:
                raise QuantError(f"wide_tensors: '{name}' comes out of a table of 8-bit results")


def _tensors(
    graph: Graph,
    calibration: Calibration,
    images: list[np.ndarray],
    options: QuantOptions,
    seed: int,
    progress: Callable[[str], None] | None,
) -> tuple[dict[str, QTensor], PrecisionChoice]:
    """Formats and scales of all stored tensors (kinds still None)."""
    roots = pool_roots(graph)
    names = stored_tensors(graph)

    limits = clip_limits(graph)

    def scales_in(formats: dict[str, Format]) -> dict[str, float]:
        scales = {n: calibration.histograms[roots[n]].scale(formats[n], limits[n]) for n in names}
        if graph.host_input.gain:
            scales[graph.input] = 1.0  # pixels are stored as they are
        return scales

    formats = tensor_formats(graph, set())
    if options.wide_tensors is None:
        choice = choose_precision(
            graph, images, scales_in(formats), formats, options, seed, progress
        )
    else:
        choice = PrecisionChoice({}, options.wide_tensors, None, None)
    formats = tensor_formats(graph, set(choice.wide))
    tensors = {}
    for name, scale in scales_in(formats).items():
        t = graph.tensors[name]
        tensors[name] = QTensor(name, t.channels, t.height, t.width, scale, formats[name])
    return tensors, choice


def _elementwise(node: Node, tensors: dict[str, QTensor], sums: SumGrid) -> QNode:
    """Integer form of a node that is not a convolution."""
    out = tensors[node.output]
    if isinstance(node, MaxPool):
        return QMaxPool(
            node.name, node.input, node.output, node.kernel, node.stride, node.pads,
            node.dilation, node.onnx_name,
        )  # fmt: skip
    if isinstance(node, Interleave):
        mult, shift = exact_multiplier(1.0, node.name)
        whole = Epilogue.whole(out.format)
        return QInterleave(
            node.name, node.input, node.output, node.block, mult, shift, whole, node.onnx_name
        )
    assert isinstance(node, Resample | Add | Mul)
    epilogue = stored_epilogue(node.activation, out, sums)
    match node:
        case Resample():
            source = tensors[node.input]
            reach = source.format.reach
            for table in (node.y, node.x):
                reach *= max(sum(abs(w) for w in row) for row in table.weights)
            if reach >= ACC_LIMIT:
                raise QuantError(
                    f"layer '{node.name}': resampling weights exceed the 32-bit accumulator; "
                    "use an integer scale factor"
                )
            per_unit = source.scale / (node.y.denominator * node.x.denominator)
            mult, shift = exact_multiplier(per_unit / sums.scale, node.name)
            return QResample(
                node.name, node.input, node.output, node.y, node.x, mult, shift, epilogue,
                node.onnx_name,
            )  # fmt: skip
        case Add():
            factors, unit = add_factors([tensors[i] for i in node.inputs])
            mult, shift = exact_multiplier(unit / sums.scale, node.name)
            return QAdd(
                node.name, node.inputs, factors, node.output, mult, shift, epilogue, node.onnx_name
            )
        case Mul():
            a, b = (tensors[i] for i in node.inputs)
            mult, shift = exact_multiplier(a.scale * b.scale / sums.scale, node.name)
            return QMul(node.name, node.inputs, node.output, mult, shift, epilogue, node.onnx_name)


def add_factors(inputs: Sequence[QTensor]) -> tuple[tuple[int, ...], float]:
    """(factors, unit): scale of input i is about factors[i] * unit.

    The unit is the smallest for which factors are signed 16 bit and the sum stays below 2^31.
    """
    bounds = [t.format.reach for t in inputs]
    reach = sum(t.scale * b for t, b in zip(inputs, bounds, strict=True))
    unit = max(max(t.scale for t in inputs) / FACTOR_LIMIT, reach / (ACC_LIMIT - 1 - sum(bounds)))
    return tuple(min(FACTOR_LIMIT, round(t.scale / unit)) for t in inputs), unit


def mac_shares(nodes: Sequence[QNode], tensors: Mapping[str, QTensor]) -> dict[str, float]:
    """What a report says of the share of multiply-accumulates that each coarse kind computes."""
    return {f"{kind.name}_mac_share": _mac_share(kind.number, nodes, tensors) for kind in COARSE}


def _mac_share(kind: int, nodes: Sequence[QNode], tensors: Mapping[str, QTensor]) -> float:
    """Share of multiply-accumulates that columns of a kind compute."""
    total = own = 0
    for node in nodes:
        if isinstance(node, QConv):
            out = tensors[node.output]
            macs = sum(t.weight[0].size for t in node.terms) * out.height * out.width
            assert out.kinds is not None
            total += macs * out.channels
            own += macs * sum(k == kind for k in out.kinds)
    return own / max(1, total)
