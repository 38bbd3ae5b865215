"""Networks of an engine with tables: results that index them, and gates of one value a channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fpga_gen.contract.numerics import I8, I16, U8, Format
from fpga_gen.contract.params import EngineParams
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.quantise import quantise
from tests.frontend.activation_models import ACTIVATIONS, GATES, network
from tests.frontend.onnx_models import Net
from tests.schedule.builder import Builder, Example, mean_table

MANY = 12  # more curves than an engine has tables


def gate(params: EngineParams, fmt: Format = U8, size: tuple[int, int] = (7, 9)) -> Example:
    """Squeeze and excite: mean, two convolutions with tables, a product with the map."""
    b = Builder("gate", params, curves=3)
    x = b.input(3, *size)
    kinds = b.kinds(19)
    x = b.conv(b.term(x, kinds, (3, 3), pads=(1, 1, 1, 1)), kinds, fmt)
    y = b.resample(x, mean_table(size[0], size[0]), mean_table(size[1], size[1]), I8)
    y = b.simple(y, 5, 1, U8)
    y = b.conv(b.term(y, kinds), kinds, U8)
    return b.example(b.mul(x, y, I8))


def chain(params: EngineParams, layers: int = 16) -> Example:
    """Short layers with a table each, more of them than there are tables; no two in a row equal."""
    b = Builder("chain", params, curves=MANY)
    x = b.input(4, 5, 6)
    for layer in range(layers):
        x = b.simple(x, 4 + layer % 5, 1 + layer % 2 * 2, (U8, I8)[layer % 2])
    return b.example(x)


def beside(params: EngineParams) -> Example:
    """Convolutions of one map with a table each, none of which waits for the one before."""
    b = Builder("beside", params, curves=MANY)
    x = b.input(4, 6, 6)
    return b.example(*(b.simple(x, 3, 1, U8) for _ in range(20)))


NETWORKS = {
    "gate": gate,
    "gate of a 16-bit map": lambda params: gate(params, I16),
    "gate of one pixel": lambda params: gate(params, U8, (1, 1)),
    "gate of a large map": lambda params: gate(params, U8, (19, 21)),
    "chain": chain,
    "beside": beside,
}


def of_model(net: Net, params: EngineParams, folder: Path) -> Example:
    """A model as frontend, optimiser and quantiser leave it, with its values for an image."""
    graph = optimise(import_onnx(net.save(folder)))
    rng = np.random.default_rng(5)
    image = rng.normal(size=graph.host_input.model_shape).astype(np.float32)
    qgraph = quantise(graph, params, [image])
    stored = quantise_input(qgraph, image)
    return Example(qgraph, stored, run_integer(qgraph, stored))


# Every activation between two convolutions, and every kind of gate, as ONNX has them.
MODELS = {
    **{name: lambda name=name: network(name, (5, 6)) for name in ACTIVATIONS},
    **{f"gate, {name}": lambda name=name: GATES[name](size=(5, 6)) for name in GATES},
}
