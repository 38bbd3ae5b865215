"""Max-pooling in large windows: one axis after the other."""

from __future__ import annotations

from dataclasses import replace

from fpga_gen.contract.isa import MAX_TAPS
from fpga_gen.graph.ir import Graph, MaxPool, Node, Tensor
from fpga_gen.graph.passes.rewrite import Fresh, rebuilt
from fpga_gen.graph.verify import window_shape

LONGEST_STRIDE = 15  # of a POOL, in rows
LARGE = 4  # sides of a window of stride 1 from which two instructions read far less than one


def split_large_pools(graph: Graph) -> Graph:
    """Windows of more values than an instruction has taps, and those of stride 1 with long sides,
    become column windows, then row windows; an axis that is pooled to one value may take two steps.
    Exact: a maximum may be taken in any order."""
    fresh = Fresh(graph)
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        if not isinstance(node, MaxPool) or not _is_large(node):
            nodes.append(node)
            continue
        source = graph.tensors[node.input]
        steps = [step for axis in (0, 1) for step in _axis_steps(graph, node, axis)]
        for index, step in enumerate(steps):
            if index < len(steps) - 1:
                size = window_shape(
                    source.shape, step.kernel, step.stride, step.pads, step.dilation
                )
                out = Tensor(fresh(f"{node.output}.part"), source.channels, *size)
                step = replace(step, name=fresh(f"{node.name}.part"), output=out.name)
                tensors.append(out)
                nodes.append(replace(step, input=source.name))
                source = out
            else:
                nodes.append(replace(step, input=source.name))
    return rebuilt(graph, nodes, tensors) if tensors else graph


def _is_large(node: MaxPool) -> bool:
    rows, columns = node.kernel
    return rows * columns > MAX_TAPS or (node.stride == (1, 1) and min(node.kernel) >= LARGE)


def _axis_steps(graph: Graph, node: MaxPool, axis: int) -> list[MaxPool]:
    """What a pooling does along one axis (0: over rows). Input, and name and output of all but the
    last, are still those of the whole."""

    def along(kernel: int, stride: int, first: int, last: int, dilation: int) -> MaxPool:
        def pair(value: int) -> tuple[int, int]:
            return (1, value) if axis else (value, 1)

        pads = (0, first, 0, last) if axis else (first, 0, last, 0)
        return replace(
            node, kernel=pair(kernel), stride=pair(stride), pads=pads, dilation=pair(dilation)
        )

    kernel, pads = node.kernel[axis], (node.pads[axis], node.pads[axis + 2])
    if kernel == 1 and node.stride[axis] == 1 and not any(pads):
        return []
    whole = graph.tensors[node.output].shape[1 + axis] == 1
    if kernel <= MAX_TAPS or not whole or any(pads) or node.dilation[axis] != 1:
        return [along(kernel, node.stride[axis], *pads, node.dilation[axis])]
    reach = MAX_TAPS - (MAX_TAPS - kernel) % LONGEST_STRIDE  # windows that end with the kernel
    count = (kernel - reach) // LONGEST_STRIDE + 1
    return [along(reach, LONGEST_STRIDE, 0, 0, 1), along(count, 1, 0, 0, 1)]
