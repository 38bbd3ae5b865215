"""The whole pass order in one place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fpga_gen.graph.ir import Graph
from fpga_gen.graph.passes.activations import clip_before_pool, fuse_activations
from fpga_gen.graph.passes.affine import fold_affine_back, fold_affine_forward, split_affine
from fpga_gen.graph.passes.canonical import drop_copies, merge_duplicates
from fpga_gen.graph.passes.concat import (
    flatten_concat,
    join_convolutions,
    materialise_views,
    push_through_concat,
    push_through_interleave,
    push_through_select,
)
from fpga_gen.graph.passes.conv_merge import (
    flatten_adds,
    fuse_adds,
    merge_pointwise,
    merge_terms,
)
from fpga_gen.graph.passes.curves import join_curves
from fpga_gen.graph.passes.enlarging import shrink_before_enlarging
from fpga_gen.graph.passes.means import split_large_means
from fpga_gen.graph.passes.picture import raw_picture
from fpga_gen.graph.passes.pools import split_large_pools
from fpga_gen.graph.passes.rewrite import pruned
from fpga_gen.graph.passes.stem import space_to_depth
from fpga_gen.graph.verify import GraphRuleError, verify

Pass = Callable[[Graph], Graph]

SIMPLIFY: tuple[Pass, ...] = (  # repeated until nothing changes
    pruned,
    drop_copies,
    merge_duplicates,
    join_curves,
    flatten_concat,
    push_through_concat,
    push_through_select,
    push_through_interleave,
    split_affine,
    fold_affine_back,
    fold_affine_forward,
    clip_before_pool,
    fuse_activations,
    flatten_adds,
    fuse_adds,
    merge_terms,
    merge_pointwise,
    shrink_before_enlarging,
)
LOWER: tuple[Pass, ...] = (  # at the end
    join_convolutions,
    materialise_views,
    space_to_depth,
    split_large_pools,
    split_large_means,
)

MAX_ROUNDS = 100


def optimise(
    graph: Graph, picture: tuple[tuple[float, ...], tuple[float, ...]] | None = None
) -> Graph:
    """The graph in the form that the quantiser takes (`verify(lowered=True)`).

    picture: (mean, std) of the normalisation if the input is a picture, see `raw_picture`.

    Every pass is exact up to float rounding. GraphRuleError names the pass that broke a rule;
    UnsupportedModel a layer whose weights, multiplied with others, leave the range of float32.
    """
    verify(graph)
    for _ in range(MAX_ROUNDS):
        before = graph
        for step in SIMPLIFY:
            graph = _run(step, graph)
        if graph is before:
            break
    else:
        raise GraphRuleError(f"passes did not settle in {MAX_ROUNDS} rounds")
    if picture is not None:
        graph = _run(raw_picture, graph, *picture)
    for step in LOWER:
        graph = _run(step, graph)
    verify(graph, lowered=True)
    return graph


def _run(step: Callable[..., Graph], graph: Graph, *arguments: object) -> Graph:
    with np.errstate(over="ignore", invalid="ignore"):  # verify tells
        result = step(graph, *arguments)
    if result is not graph:
        try:
            verify(result)
        except GraphRuleError as error:
            raise GraphRuleError(f"after pass {step.__name__}: {error}") from error
    return result
