"""The weights that are left, fitted layer after layer to the sums of the network as it was.

A layer of a pruned network reads maps that differ from those that its weights were made for. From
the first layer on, weights and bias become those that come nearest to the sums of the same layer of
the network as it was (least squares, drawn towards what they are), with the inputs that they have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fpga_gen.graph.interpreter import run_node
from fpga_gen.graph.ir import ACTIVATED, Activation, Conv, Graph
from fpga_gen.pruning.curvature import damped
from fpga_gen.quant.calibrate import columns_at, sample_pixels
from fpga_gen.quant.options import QuantOptions
from fpga_gen_host.model_input import prepare_input

SAMPLES = 1 << 14  # pixels of a layer
BLOCK = QuantOptions().block  # weights of a filter that are fitted jointly


def refitted(
    graph: Graph,
    pruned: Graph,
    images: Sequence[np.ndarray],
    fixed: set[str],
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Graph:
    """The pruned graph with weights and biases that make up for what the layers before them lost.

    graph: as it was; images: (C, H, W), model layout; fixed: layers that stay as they are. What is
    zero stays so.
    """
    rng = np.random.default_rng(seed)
    first = [prepare_input(graph.host_input, np.asarray(i, np.float32)) for i in images]
    was = [{graph.input: x} for x in first]
    now = [{graph.input: x} for x in first]
    last = {name: at for at, node in enumerate(graph.nodes) for name in node.inputs}
    differs: set[str] = set()  # maps that are no longer what they were
    nodes = []
    for at, (old, new) in enumerate(zip(graph.nodes, pruned.nodes, strict=True)):
        if progress:
            progress(f"fit layer {at + 1} of {len(graph.nodes)}")
        changed = new is not old or bool(differs & set(new.inputs))
        wanted = [_sums(old, values) for values in was]
        if changed and isinstance(new, Conv) and new.name not in fixed:
            out = graph.tensors[new.output]
            pixels = sample_pixels((out.height, out.width), -(-SAMPLES // len(images)), rng)
            columns, missing = [], []
            for values, sums in zip(now, wanted, strict=True):
                sources = [[values[t.input]] for t in new.terms]
                columns.append(columns_at(new, sources, out.width, pixels))
                mine = _sums(new, values).reshape(len(sums), -1)
                missing.append((sums.reshape(len(sums), -1) - mine)[:, pixels])
            new = _fitted(new, np.concatenate(columns, 1), np.concatenate(missing, 1))
        for values, other, sums in zip(was, now, wanted, strict=True):
            values[old.output] = _applied(old, sums)
            other[new.output] = run_node(new, other) if changed else values[old.output]
        if changed:
            differs.add(new.output)
        nodes.append(new)
        for name in (n for n in old.inputs if last[n] == at):
            for values in (*was, *now):
                del values[name]
    return replace(pruned, nodes=tuple(nodes))


def _sums(node, values: dict[str, np.ndarray]) -> np.ndarray:
    """What the activation of a node gets."""
    return run_node(replace(node, activation=Activation()) if _active(node) else node, values)


def _applied(node, sums: np.ndarray) -> np.ndarray:
    return node.activation.apply(sums) if _active(node) else sums


def _active(node) -> bool:
    return isinstance(node, ACTIVATED)


def _fitted(node: Conv, columns: np.ndarray, missing: np.ndarray) -> Conv:
    """columns: (K, n) inputs; missing: (F, n) what the sums of these pixels lack."""
    (term,) = node.terms
    weight = term.weight.reshape(len(term.weight), -1).astype(np.float64)
    mean = columns.mean(1, dtype=np.float64)
    centred = (columns - mean[:, None].astype(np.float32)).astype(np.float32)
    left = missing - missing.mean(1, keepdims=True)
    after = weight.copy()
    for at in range(0, len(columns), BLOCK):
        part = slice(at, at + BLOCK)
        x = centred[part]
        moments = damped((x @ x.T).astype(np.float64) / x.shape[1], x.shape[1])
        shared = (left @ x.T).astype(np.float64) / x.shape[1]  # (F, k)
        change = np.zeros_like(after[:, part])
        patterns, rows = np.unique(weight[:, part] != 0, axis=0, return_inverse=True)
        for number, live in enumerate(patterns):
            own = rows.reshape(-1) == number
            if live.any():
                solved = np.linalg.solve(moments[np.ix_(live, live)], shared[own][:, live].T).T
                change[np.ix_(own, live)] = solved
        after[:, part] += change
        left = left - change.astype(np.float32) @ x
    bias = node.bias + missing.mean(1, dtype=np.float64) - (after - weight) @ mean
    term = replace(term, weight=after.reshape(term.weight.shape).astype(np.float32))
    return replace(node, terms=(term,), bias=bias.astype(np.float32))
