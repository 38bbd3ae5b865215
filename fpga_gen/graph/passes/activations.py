"""Fuses activations (copies that do something) into the node that computes their input."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.graph.axis import identity_axis
from fpga_gen.graph.ir import Activation, Add, Conv, Graph, MaxPool, Mul, Node, Resample, Tensor
from fpga_gen.graph.passes.canonical import is_copy
from fpga_gen.graph.passes.curves import hint_of, levels, passed_on, rounded_in
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt, use_counts


def fuse_activations(graph: Graph) -> Graph:
    """Give the producer the activation of its only consumer; others stay copies. What a model
    rounds between the two, a table rounds as well."""
    uses = use_counts(graph)
    nodes: dict[str, Node] = {}  # by output, in order
    changed = False
    for node in graph.nodes:
        producer = nodes.get(node.inputs[0])
        if (
            is_copy(node)
            and isinstance(producer, Conv | Add | Mul | Resample)
            and uses[producer.output] == 1
        ):
            between = producer.activation
            hint = hint_of(graph, producer.output)
            if hint is not None and not node.activation.is_clip:
                between = between.then(Activation.of(levels(hint)))
                graph = rounded_in(graph, (producer.output,), node.output)
            graph = passed_on(graph, producer.output, node.output)
            both = between.then(node.activation)
            fused = replace(producer, output=node.output, activation=both)
            # In place: only this node reads the producer, so the new name is known in time.
            nodes = {
                (node.output if k == producer.output else k): (fused if n is producer else n)
                for k, n in nodes.items()
            }
            changed = True
        else:
            nodes[node.output] = node
    return rebuilt(graph, nodes.values()) if changed else graph


def clip_before_pool(graph: Graph) -> Graph:
    """max(f(x)) for f(max(x)), f never falling: an activation moves to where it can be fused."""
    uses, fresh = use_counts(graph), Fresh(graph)
    producers = graph.producers()
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        pool = producers.get(node.inputs[0])
        if not (
            is_copy(node)
            and node.activation.rises
            and isinstance(pool, MaxPool)
            and uses[pool.output] == uses[pool.input] == 1
            and isinstance(producers.get(pool.input), Conv | Add | Mul | Resample | MaxPool)
        ):
            nodes.append(node)
            continue
        source = graph.tensors[pool.input]
        clipped = Tensor(fresh(f"{pool.input}.clipped"), *source.shape)
        tensors.append(clipped)
        nodes[nodes.index(pool)] = replace(
            node, input=pool.input, output=clipped.name,
            y=identity_axis(clipped.height), x=identity_axis(clipped.width),
        )  # fmt: skip
        nodes.append(replace(pool, input=clipped.name, output=node.output))
    return rebuilt(graph, nodes, tensors) if tensors else graph
