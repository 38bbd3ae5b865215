"""Which maps need 16 bits: the damage that each 8-bit map does, against an SNR budget.

The damage of a map is the error power at the outputs when it alone is rounded to 8 bits. Errors of
single elements are nearly independent and small, so it is the sum over the elements of squared
rounding error times squared gradient; with random signs as the seed at the outputs one backward
pass gives the gradients' power for every map at once (Hutchinson's estimator). Where a channel's
errors are not independent, as in one that sits at the end of its range, the square of their sum is
the better estimate: the larger of both counts. Compared with rounding each map and running the
network again it is within 1.5 dB on HarDNet-68 (the network input: 2 dB). Damages of different
maps add for the same reason, so a greedy choice by damage per cost is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.numerics import Format
from fpga_gen.graph.gradient import gradients
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Concat, Conv, Graph, MaxPool, Node, Select
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.ranges import curved_tensors, pool_roots, segments_of, stored_tensors

DRAWS = 2  # backward passes for each image and output
ELEMENT_MACS = 336  # per element of an elementwise result: 5376 MACs a cycle, 16 elements a cycle
STORE_MACS = 336  # per further byte of the network's results: 16 bytes leave the engine a cycle
SMALL_RESULT = 4096  # bytes that leave in the time that a frame takes to end
WEIGHT_MACS = 100  # per weight: 5376 MACs a cycle, 54 weights a cycle from DRAM
GROUPED_MACS = 21  # per MAC: 5376 MACs a cycle, a depthwise layer does 256


@dataclass(frozen=True)
class PrecisionChoice:
    """damage: relative output noise power by tensor at 8 bits, max-pools with their inputs; wide:
    tensors with 16 bits; predicted_db: output SQNR of 8/16-bit activations alone; wide_macs: share
    of the work (`_node_macs`) that reads them. None: not measured, since the choice was given."""

    damage: dict[str, float]
    wide: tuple[str, ...]
    predicted_db: float | None
    wide_macs: float | None


def _node_macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates that the array could do in the time that a node takes it: a layer of
    few pixels takes as long as its weights, a grouped one uses few of the columns, the vector
    unit keeps the array waiting."""
    out = graph.tensors[node.output]
    if isinstance(node, Conv):
        pixels = max(out.height * out.width, WEIGHT_MACS)
        work = (t.weight.size * (GROUPED_MACS if t.groups > 1 else 1) for t in node.terms)
        return sum(work) * pixels
    if isinstance(node, Concat | MaxPool | Select):
        return 0
    return ELEMENT_MACS * out.channels * out.height * out.width


def _readers(graph: Graph) -> dict[str, list[Node]]:
    """stored tensor -> nodes that read it, also through concats."""
    segments = segments_of(graph)
    table: dict[str, list[Node]] = {t: [] for t in graph.tensors}
    for node in graph.nodes:
        if not isinstance(node, Concat | MaxPool | Select):
            for name in {s for i in node.inputs for s in segments[i]}:
                table[name].append(node)
    return table


def fake_quantise(values: np.ndarray, scale: float, fmt: Format) -> np.ndarray:
    """Round a float map to the levels of a format, float32."""
    lo, hi = fmt.lo - fmt.zero, fmt.hi - fmt.zero
    step = np.float32(scale)
    return np.clip(np.rint(values / step), lo, hi) * step


def candidates(graph: Graph, options: QuantOptions) -> list[str]:
    """Stored tensors that may become 16 bit: no max-pool operands, none that comes out of a table,
    and none whose readers alone exceed the MAC budget."""
    total = sum(_node_macs(graph, n) for n in graph.nodes)
    readers = _readers(graph)
    roots = pool_roots(graph)
    narrow = {roots[n.input] for n in graph.nodes if isinstance(n, MaxPool)}
    narrow.update(curved_tensors(graph))
    wide_input = options.wide_input and not graph.host_input.gain  # pixels lose nothing in 8 bits
    return [
        name
        for name in stored_tensors(graph)
        if roots[name] == name
        and name not in narrow
        and (name != graph.input or wide_input)
        and sum(_node_macs(graph, n) for n in readers[name]) <= options.wide_mac_share * total
    ]


def measure_damage(
    graph: Graph,
    image: np.ndarray,
    scales: dict[str, float],
    formats: dict[str, Format],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Relative output noise power that rounding each stored tensor of one image costs (the worst
    of the outputs); the output of a max-pool is its input's and is left out."""
    values = run_float(graph, image)
    roots = pool_roots(graph)
    names = [t for t in stored_tensors(graph) if roots[t] == t]
    errors = {n: fake_quantise(values[n], scales[n], formats[n]) - values[n] for n in names}
    damage = dict.fromkeys(names, 0.0)
    for output in graph.outputs:
        signal = max(float(np.square(values[output], dtype=np.float64).sum()), 1e-30)
        alone, together = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for _ in range(DRAWS):
            seed = rng.choice(np.array([-1, 1], np.float32), values[output].shape)
            found = gradients(graph, values, {output: seed})
            for name in set(names) & set(found):
                effect = errors[name] * found[name]
                alone[name] += float(np.square(effect, dtype=np.float64).sum())
                by_channel = effect.sum((1, 2), dtype=np.float64)
                together[name] += float(np.square(by_channel).sum())
        for name in names:
            worst = max(alone[name], together[name]) / DRAWS / signal
            damage[name] = max(damage[name], worst)
    return damage


def choose_precision(
    graph: Graph,
    images: Sequence[np.ndarray],
    scales: dict[str, float],
    formats: dict[str, Format],
    options: QuantOptions,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> PrecisionChoice:
    """Measure the damage of 8-bit maps on a few images and choose the 16-bit ones.

    scales, formats: of the all-8-bit network. Tensors are made 16 bit, the most damage per extra
    MAC first, until the predicted SNR reaches the target, the MAC budget is spent, or what is
    left is not worth its cost.
    """
    images = images[: options.probe_images]
    rng = np.random.default_rng(seed)
    damage: dict[str, float] = {}
    for number, image in enumerate(images):
        if progress:
            progress(f"noise of 8-bit maps on image {number + 1} of {len(images)}")
        for name, value in measure_damage(graph, image, scales, formats, rng).items():
            damage[name] = damage.get(name, 0.0) + value / len(images)
    return _greedy(graph, damage, options)


def _greedy(graph: Graph, damage: dict[str, float], options: QuantOptions) -> PrecisionChoice:
    readers = _readers(graph)
    macs = {n.name: _node_macs(graph, n) for n in graph.nodes}
    total = max(1, sum(macs.values()))
    wide: list[str] = []
    slowed: set[str] = set()
    noise = sum(damage.values())
    budget = 10 ** (-options.activation_target_db / 10)
    left = set(candidates(graph, options))

    def leaving(names: Iterable[str]) -> int:
        """Of the further bytes of results, which a detector has by the million."""
        found = (graph.tensors[n] for n in graph.outputs if n in names)
        sizes = [t.channels * t.height * t.width for t in found]
        return STORE_MACS * sum(max(0, size - SMALL_RESULT) for size in sizes)

    def extra(name: str) -> int:
        return leaving([name]) + sum(macs[n.name] for n in readers[name] if n.name not in slowed)

    while noise > budget:
        spent = leaving(wide) + sum(macs[n] for n in slowed)
        fits = [t for t in sorted(left) if spent + extra(t) <= options.wide_mac_share * total]
        # damage below a thousandth of the budget is not worth a 16-bit map, and neither is a
        # share of the noise that costs about as large a share of the cycles
        least = options.wide_worth * noise / total
        fits = [t for t in fits if damage[t] > max(1e-3 * budget, least * extra(t))]
        if not fits:
            break
        best = max(fits, key=lambda t: damage[t] / (extra(t) / total + 1e-3))
        wide.append(best)
        left.discard(best)
        slowed |= {n.name for n in readers[best]}
        noise -= damage[best]
    share = sum(macs[n] for n in slowed) / total
    decibel = -10 * float(np.log10(max(noise, 1e-30)))
    return PrecisionChoice(damage, tuple(wide), decibel, share)
