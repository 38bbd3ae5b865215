"""Which maps need 16 bits: the damage that each 8-bit map does, against an SNR budget.

Each candidate alone is rounded to 8 bits in the float network and everything downstream of it
is computed again; the error power at the outputs is its damage. Damages of different maps add
(their errors are nearly independent), so a greedy choice by damage per cost is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.graph.interpreter import run_float, run_node
from fpga_gen.graph.ir import Conv, Graph, MaxPool, Node
from fpga_gen.quant.numerics import Format
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.ranges import segments_of, stored_tensors


@dataclass(frozen=True)
class PrecisionChoice:
    """damage: relative output noise power by measured tensor at 8 bits; wide: tensors with 16
    bits; predicted_db: output SQNR of 8/16-bit activations alone; wide_macs: share of MACs. None:
    not measured, since the choice was given."""

    damage: dict[str, float]
    wide: tuple[str, ...]
    predicted_db: float | None
    wide_macs: float | None


def _node_macs(graph: Graph, node: Node) -> int:
    if not isinstance(node, Conv):
        return 0
    out = graph.tensors[node.output]
    return sum(t.weight.size for t in node.terms) * out.height * out.width


def _readers(graph: Graph) -> dict[str, list[Conv]]:
    """stored tensor -> convolutions that read it, also through concats."""
    segments = segments_of(graph)
    table: dict[str, list[Conv]] = {t: [] for t in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, Conv):
            for name in {s for i in node.inputs for s in segments[i]}:
                table[name].append(node)
    return table


def _downstream(graph: Graph, name: str) -> list[Node]:
    """Nodes whose result depends on a tensor, in order."""
    dirty, nodes = {name}, []
    for node in graph.nodes:
        if node.output != name and any(i in dirty for i in node.inputs):
            dirty.add(node.output)
            nodes.append(node)
    return nodes


def fake_quantise(values: np.ndarray, scale: float, fmt: Format) -> np.ndarray:
    """Round a float map to the levels of a format, float32."""
    lo, hi = fmt.lo - fmt.zero, fmt.hi - fmt.zero
    step = np.float32(scale)
    return np.clip(np.rint(values / step), lo, hi) * step


def candidates(graph: Graph, options: QuantOptions) -> list[tuple[str, list[Node]]]:
    """Tensors that may become 16 bit with the nodes downstream: the network input, then from the
    outputs backwards as many as `options.probe_work` allows to measure.

    No max-pool operands and none whose readers alone exceed the MAC budget.
    """
    total = sum(_node_macs(graph, n) for n in graph.nodes)
    readers = _readers(graph)
    pooled = {t for n in graph.nodes if isinstance(n, MaxPool) for t in (n.input, n.output)}
    stored = stored_tensors(graph)
    work, found = 0.0, []
    for name in [stored[0], *reversed(stored[1:])]:
        exact = graph.host_input.gain or not options.wide_input
        if name in pooled or (name == graph.input and exact):
            continue
        if sum(_node_macs(graph, n) for n in readers[name]) > options.wide_mac_share * total:
            continue
        nodes = _downstream(graph, name)
        work += sum(_node_macs(graph, n) for n in nodes)
        if work > options.probe_work * total:
            break
        found.append((name, nodes))
    return found


def choose_precision(
    graph: Graph,
    images: Sequence[np.ndarray],
    scales: dict[str, float],
    formats: dict[str, Format],
    options: QuantOptions,
    progress: Callable[[str], None] | None = None,
) -> PrecisionChoice:
    """Measure the damage of 8-bit maps on a few images and choose the 16-bit ones.

    scales, formats: of the all-8-bit network. Tensors are made 16 bit, the most damage per extra
    MAC first, until the predicted SNR reaches the target or the MAC budget is spent.
    """
    probes = candidates(graph, options)
    damage = {name: 0.0 for name, _ in probes}
    images = images[: options.probe_images]
    for number, image in enumerate(images):
        values = run_float(graph, image)
        signal = {o: max(float(np.square(values[o], dtype=np.float64).sum()), 1e-30)
                  for o in graph.outputs}  # fmt: skip
        for name, nodes in probes:
            if progress:
                progress(f"probe '{name}' on image {number + 1} of {len(images)}")
            changed = dict(values)
            changed[name] = fake_quantise(values[name], scales[name], formats[name])
            for node in nodes:
                changed[node.output] = run_node(node, changed)
            damage[name] += max(
                float(np.square(changed[o].astype(np.float64) - values[o]).sum()) / signal[o]
                for o in graph.outputs
            ) / len(images)
    return _greedy(graph, damage, options)


def _greedy(graph: Graph, damage: dict[str, float], options: QuantOptions) -> PrecisionChoice:
    readers = _readers(graph)
    macs = {n.name: _node_macs(graph, n) for n in graph.nodes}
    total = max(1, sum(macs.values()))
    wide: list[str] = []
    slowed: set[str] = set()
    noise = sum(damage.values())
    budget = 10 ** (-options.activation_target_db / 10)
    left = set(damage)

    def extra(name: str) -> int:
        return sum(macs[n.name] for n in readers[name] if n.name not in slowed)

    while noise > budget:
        spent = sum(macs[n] for n in slowed)
        fits = [t for t in sorted(left) if spent + extra(t) <= options.wide_mac_share * total]
        # damage below a thousandth of the budget is not worth a 16-bit map
        fits = [t for t in fits if damage[t] > 1e-3 * budget]
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
