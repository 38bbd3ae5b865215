"""Gradients against finite differences on a network that holds every kind of node."""

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.graph.gradient import gradients
from fpga_gen.graph.interpreter import run_float, run_node
from fpga_gen.graph.ir import Concat
from tests.quant.networks import all_nodes, images


@pytest.fixture(scope="module")
def frame():
    """(graph, all maps of one picture, seeds of both outputs, gradients)."""
    graph = all_nodes()
    values = run_float(graph, images(1)[0])
    rng = np.random.default_rng(3)
    seeds = {o: rng.standard_normal(values[o].shape).astype(np.float32) for o in graph.outputs}
    return graph, values, seeds, gradients(graph, values, seeds)


def moved(graph, values, seeds, name: str, step: np.ndarray) -> float:
    """sum(seeds * outputs) with one map changed and everything downstream computed again."""
    changed = dict(values)
    changed[name] = values[name] + step
    dirty = {name}
    for node in graph.nodes:
        if node.output != name and dirty & set(node.inputs):
            changed[node.output] = run_node(node, changed)
            dirty.add(node.output)
    return float(sum((seeds[o] * changed[o].astype(np.float64)).sum() for o in graph.outputs))


def test_every_map_agrees_with_finite_differences(frame):
    graph, values, seeds, found = frame
    rng = np.random.default_rng(4)
    concats = {n.output for n in graph.nodes if isinstance(n, Concat)}
    assert set(found) == set(graph.tensors)
    for name in sorted(set(found) - concats):
        wanted, got = [], []
        for _ in range(6):
            step = 2e-4 * rng.standard_normal(values[name].shape).astype(np.float32)
            if name == "a":  # where a window of the pool is all zero any of them is the maximum
                step *= (values[name] > 0.01) & (values[name] < 5.99)
            wanted.append(
                moved(graph, values, seeds, name, step) - moved(graph, values, seeds, name, -step)
            )
            got.append(2 * float((found[name] * step).sum(dtype=np.float64)))
        error = np.linalg.norm(np.subtract(wanted, got)) / np.linalg.norm(wanted)
        assert error < 0.1, name  # kinks of clips and pools cross a few elements


def test_a_map_that_reaches_no_output_has_none(frame):
    graph, values, seeds, _ = frame
    only_head = replace(graph, outputs=("h",))
    found = gradients(only_head, values, {"h": seeds["h"]})
    assert not {"g", "z", "q"} & set(found)
    assert found["u"].shape == values["u"].shape


def test_saturated_elements_pass_nothing(frame):
    graph, values, _, found = frame
    stem = values["a"]
    grad_in = gradients(graph, {**values, "a": np.full_like(stem, 6.0)}, {"h": found["h"]})
    assert not grad_in["image"].any()  # every element of the stem sits at its ReLU6
