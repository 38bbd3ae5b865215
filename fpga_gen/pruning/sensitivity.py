"""How much an error in the sums of a layer disturbs the outputs of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fpga_gen.graph.gradient import gradients
from fpga_gen.graph.interpreter import run_float, sums_of
from fpga_gen.graph.ir import Conv, Graph


def sensitivities(
    graph: Graph,
    images: Sequence[np.ndarray],
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, np.ndarray]:
    """Name of a convolution -> (F,) noise power at the network's outputs, relative to their signal,
    for one unit of it in every sum of a filter: squared gradients with random signs as the seed at
    the outputs (see quant/precision.py), mean of the images ((C, H, W), model layout)."""
    rng = np.random.default_rng(seed)
    convs = [node for node in graph.nodes if isinstance(node, Conv)]
    found = {n.name: np.zeros(graph.tensors[n.output].channels) for n in convs}
    for number, image in enumerate(images, 1):
        if progress:
            progress(f"effect of errors on image {number} of {len(images)}")
        values = run_float(graph, np.asarray(image, np.float32))
        for output in graph.outputs:
            signal = max(float(np.square(values[output], dtype=np.float64).sum()), 1e-30)
            signs = rng.choice(np.array([-1, 1], np.float32), values[output].shape)
            slopes = gradients(graph, values, {output: signs})
            for node in (n for n in convs if n.output in slopes):
                sums = values.get(sums_of(node.output))
                slope = node.activation.pull_back(slopes[node.output], values[node.output], sums)
                power = np.square(slope, dtype=np.float64).sum((1, 2))
                found[node.name] += power / signal / len(images)
    return found
