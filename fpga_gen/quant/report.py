"""Facts about a quantised network: what it loses against float and where its work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.contract.numerics import SP2
from fpga_gen.errors import QuantError
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Graph
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.ir import QConv, QuantGraph


@dataclass(frozen=True)
class TensorFact:
    """One feature map: its format, scale and SQNR in dB against float over all images."""

    name: str
    format: str
    scale: float
    sqnr_db: float


@dataclass(frozen=True)
class LayerFact:
    """One convolution: multiply-accumulates per frame, share on SP2 columns, 16-bit operands."""

    name: str
    macs: int
    sp2_share: float
    wide: bool


@dataclass(frozen=True)
class QuantReport:
    """images: number the SQNR figures rest on; output_sqnr_db: by output tensor;
    sp2_mac_share, wide_mac_share: of all MACs; wide_tensors: names of 16-bit maps."""

    images: int
    output_sqnr_db: dict[str, float]
    sp2_mac_share: float
    wide_mac_share: float
    wide_tensors: tuple[str, ...]
    tensors: tuple[TensorFact, ...]
    layers: tuple[LayerFact, ...]


def layer_facts(qgraph: QuantGraph) -> tuple[LayerFact, ...]:
    """MACs and column shares of every convolution."""
    facts = []
    for node in qgraph.nodes:
        if not isinstance(node, QConv):
            continue
        out = qgraph.tensors[node.output]
        assert out.kinds is not None, "a convolution's output has column kinds"
        macs = sum(t.weight.size for t in node.terms) * out.height * out.width
        share = sum(k == SP2 for k in out.kinds) / out.channels
        facts.append(LayerFact(node.name, macs, share, node.wide))
    return tuple(facts)


def quant_report(graph: Graph, qgraph: QuantGraph, images: Sequence[np.ndarray]) -> QuantReport:
    """Compare float and integer networks on images ((C, H, W) float, model layout)."""
    if not images:
        raise QuantError("no images to compare on: pass at least one")
    signal = dict.fromkeys(qgraph.tensors, 0.0)
    noise = dict.fromkeys(qgraph.tensors, 0.0)
    for image in images:
        reference = run_float(graph, np.asarray(image, np.float32))
        stored = run_integer(qgraph, quantise_input(qgraph, image))
        for name in qgraph.tensors:
            real = reference[name].astype(np.float64)
            signal[name] += float(np.square(real).sum())
            noise[name] += float(np.square(real - dequantise(qgraph, name, stored[name])).sum())

    def decibel(name: str) -> float:
        if noise[name] == 0.0:
            return float("inf")
        return 10 * float(np.log10(max(signal[name], 1e-300) / noise[name]))

    layers = layer_facts(qgraph)
    total = max(1, sum(f.macs for f in layers))
    return QuantReport(
        len(images),
        {o: decibel(o) for o in qgraph.outputs},
        sum(f.macs * f.sp2_share for f in layers) / total,
        sum(f.macs for f in layers if f.wide) / total,
        tuple(sorted(n for n, t in qgraph.tensors.items() if t.format.bits == 16)),
        tuple(TensorFact(n, t.format.name, t.scale, decibel(n)) for n, t in qgraph.tensors.items()),
        layers,
    )
