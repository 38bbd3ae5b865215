"""Every pass: what it rewrites, what it must leave alone, and that no value changes."""

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.graph.ir import Activation, Add, Conv, Graph, conv_macs
from fpga_gen.graph.passes.activations import clip_before_pool, fuse_activations
from fpga_gen.graph.passes.affine import fold_affine_back, fold_affine_forward, split_affine
from fpga_gen.graph.passes.canonical import drop_copies, merge_duplicates
from fpga_gen.graph.passes.concat import (
    flatten_concat,
    join_convolutions,
    materialise_views,
    push_through_concat,
)
from fpga_gen.graph.passes.conv_merge import flatten_adds, fuse_adds, merge_pointwise
from fpga_gen.graph.passes.pools import split_large_pools
from fpga_gen.graph.passes.rewrite import pruned
from fpga_gen.graph.passes.stem import space_to_depth
from tests.graph.graphs import RELU, Maker, assert_same, kinds


def _check(step, before: Graph, expected: list[str] | None) -> Graph:
    """Runs a pass; expected None means that it must not change the graph."""
    after = step(before)
    assert_same(before, after)
    if expected is None:
        assert after is before
    else:
        assert kinds(after) == expected
    return after


def test_pruned():
    m = Maker()
    kept = m.conv("x", 4)
    m.pool(m.conv("x", 5))
    after = _check(pruned, m.graph(kept), ["Conv"])
    assert set(after.tensors) == {"x", kept}
    assert pruned(after) is after


def test_drop_copies():
    m = Maker()
    y = m.copy(m.copy(m.conv(m.copy("x"), 4)))
    _check(drop_copies, m.graph(m.copy(m.conv(y, 3)), m.copy(y)), ["Conv", "Conv"])


def test_copies_that_stay():
    m = Maker()
    y = m.conv("x", 4)
    _check(drop_copies, m.graph(y, m.copy(y), m.copy("x"), m.copy(y, RELU)), None)


def test_merge_duplicates():
    m = Maker()
    y = m.conv("x", 4)
    total = m.add(*(m.conv(m.pool(m.pool(y)), 2) for _ in range(2)), m.conv(m.pool(y, 3, 4), 2))
    expected = "Conv MaxPool MaxPool Conv Conv MaxPool Conv Add".split()
    after = _check(merge_duplicates, m.graph(total), expected)
    assert after.nodes[3].inputs == after.nodes[4].inputs


def test_compose_clips():
    values = np.linspace(-9, 9, 181)
    clips = [
        Activation(),
        RELU,
        Activation(0, 6),
        Activation(-3, -1),
        Activation(2, 4),
        Activation(-7, 7),
    ]
    for a in clips:
        for b in clips:
            c = a.then(b)
            want = np.clip(np.clip(values, a.lo, a.hi), b.lo, b.hi)
            np.testing.assert_array_equal(np.clip(values, c.lo, c.hi), want)


@pytest.mark.parametrize("kind", ["conv", "add", "mul", "resize"])
def test_fuse_activations(kind):
    m = Maker()
    a, b = m.conv("x", 4), m.conv("x", 4)
    y = {
        "conv": lambda: m.conv(a, 4),
        "add": lambda: m.add(a, b),
        "mul": lambda: m.mul(a, b),
        "resize": lambda: m.resize(a, (16, 20)),
    }[kind]()
    before = pruned(m.graph(m.copy(m.copy(y, RELU), Activation(-1, 6))))
    after = fuse_activations(before)
    assert_same(before, after)
    assert len(after.nodes) == len(before.nodes) - 2
    assert after.nodes[-1].activation == Activation(0, 6)


def test_activation_of_a_shared_map_stays():
    m = Maker()
    y = m.conv("x", 4)
    _check(fuse_activations, m.graph(m.add(m.copy(y, RELU), y)), None)
    _check(fuse_activations, m.graph(y, m.copy(y, RELU)), None)  # the bare map is an output
    _check(fuse_activations, m.graph(m.copy("x", RELU)), None)


def test_clip_before_pool():
    m = Maker()
    y = m.copy(m.pool(m.conv("x", 4), 3, 2, (1, 1, 1, 1)), RELU)
    _check(clip_before_pool, m.graph(y), ["Conv", "Resample", "MaxPool"])
    m = Maker()
    y = m.conv("x", 4)
    pooled = m.copy(m.pool(y), RELU)
    _check(clip_before_pool, m.graph(pooled, y), None)  # would become a larger copy


@pytest.mark.parametrize("geometry", [{}, {"stride": (2, 1)}, {"dilation": (2, 2)}])
def test_fold_affine_back(geometry):
    m = Maker()
    y = m.affine(m.affine(m.conv("x", 4, **geometry)), activation=RELU)
    after = _check(fold_affine_back, m.graph(y), ["Conv"])
    assert after.nodes[0].activation == RELU


def test_fold_affine_back_keeps_out_of_activations_and_shared_maps():
    m = Maker()
    _check(fold_affine_back, m.graph(m.affine(m.conv("x", 4, activation=RELU))), None)
    y = m.conv("x", 4)
    _check(fold_affine_back, m.graph(m.affine(y), y), None)


def test_fold_affine_forward():
    m = Maker()
    scaled = m.affine(m.conv("x", 4, activation=RELU), bias=False)
    _check(fold_affine_forward, m.graph(m.conv(scaled, 2), m.conv(scaled, 3, 1)), ["Conv"] * 3)
    m = Maker()
    shifted = m.affine("x")
    _check(fold_affine_forward, m.graph(m.conv(shifted, 2, pads=(0, 0, 0, 0))), ["Conv"])
    m = Maker()
    _check(fold_affine_forward, m.graph(m.conv(m.affine("x"), 2)), None)  # padding: not exact
    m = Maker()
    _check(
        fold_affine_forward, m.graph(m.conv(m.affine("x", activation=RELU, bias=False), 2)), None
    )


def test_split_affine():
    m = Maker()
    y = m.affine(m.concat(m.conv("x", 4), m.conv("x", 5)), activation=RELU)
    after = _check(split_affine, m.graph(y), ["Conv"] * 4 + ["Concat"])
    _check(fold_affine_back, after, ["Conv", "Conv", "Concat"])
    m = Maker()
    _check(split_affine, m.graph(m.affine(m.concat(m.conv("x", 4), "x"))), None)


def test_flatten_concat():
    m = Maker()
    inner = m.concat(m.conv("x", 2), "x")
    after = _check(flatten_concat, m.graph(m.concat(m.concat(inner, inner), "x"), inner),
                   ["Conv", "Concat", "Concat"])  # fmt: skip
    assert len(after.nodes[-1].inputs) == 5


def test_push_through_concat():
    m = Maker()
    both = m.concat(m.conv("x", 2), "x", m.conv("x", 2), "x")
    y = m.resize(m.pool(both), (7, 5), activation=RELU)
    before = m.graph(m.conv(y, 3))
    after = push_through_concat(before)
    assert_same(before, after)
    again = push_through_concat(after)
    assert_same(before, again)
    concat = {n.output for n in again.nodes if type(n).__name__ == "Concat"}
    assert all(type(n).__name__ == "Conv" for n in again.nodes if set(n.inputs) & concat)
    assert kinds(again).count("MaxPool") == 3  # 'x' is pooled once


def test_materialise_views():
    m = Maker()
    both = m.concat(m.conv("x", 2), "x")
    other = m.conv("x", 5)
    before = m.graph(m.add(both, other), m.mul(both, other), m.conv(both, 3), both)
    after = _check(materialise_views, before,
                   ["Conv", "Concat", "Conv", "Conv", "Add", "Mul", "Conv"])  # fmt: skip
    concat = after.nodes[1]
    assert after.nodes[-1].inputs == (concat.output,)  # convolutions read it in place
    assert concat.output not in after.outputs


def test_join_convolutions():
    m = Maker()
    a, b = m.conv("x", 6, activation=RELU), m.conv("x", 5, activation=RELU)
    box, scores = m.conv(a, 4, 1), m.add(m.conv(b, 3), m.conv(a, 3, 1))
    before = fuse_adds(m.graph(m.concat(box, scores)))
    after = _check(join_convolutions, before, ["Conv"] * 3)
    whole = after.nodes[-1]
    assert [t.input for t in whole.terms] == [a, b, a]
    assert [t.weight.any((1, 2, 3)).tolist() for t in whole.terms] == [
        [True] * 4 + [False] * 3, [False] * 4 + [True] * 3, [False] * 4 + [True] * 3,
    ]  # fmt: skip
    assert all(t.sparse for t in whole.terms)
    assert _check(join_convolutions, after, None) is after


@pytest.mark.parametrize("case", ["read in place", "two readers", "activations", "strides", "map"])
def test_join_convolutions_leaves_alone(case: str):
    m = Maker((3, 8, 8))
    y = m.conv("x", 4, stride=(2, 2))
    other = m.resize(y, (8, 8)) if case == "strides" else "x"
    a = m.conv("x", 4, stride=(2, 2), activation=RELU if case == "activations" else Activation())
    b = m.conv(y, 4, 1) if case == "strides" else m.conv(other, 4, stride=(2, 2))
    both = m.concat(a, b, y) if case == "map" else m.concat(a, b)
    ends = {"read in place": [m.conv(both, 3)], "two readers": [both, m.conv(a, 2)],
            "map": [both, m.conv(y, 2)]}  # fmt: skip
    _check(join_convolutions, m.graph(*ends.get(case, [both])), None)


def test_fuse_adds():
    m = Maker()
    y = m.add(m.conv("x", 4), m.conv("x", 4, 1), m.conv("x", 4, (1, 5), pads=(0, 2, 0, 2)),
              activation=RELU)  # fmt: skip
    after = _check(fuse_adds, m.graph(y), ["Conv"])
    assert len(after.nodes[0].terms) == 3
    assert after.nodes[0].activation == RELU


def test_fuse_adds_with_others():
    m = Maker()
    skip = m.conv("x", 4, activation=RELU)
    y = m.add(m.conv(skip, 4), skip, m.conv("x", 4, 1), activation=RELU)
    after = _check(fuse_adds, m.graph(y), ["Conv", "Conv", "Add"])
    assert after.nodes[-1].activation == RELU
    assert after.nodes[1].activation == Activation()


def test_fuse_adds_of_two_walks():
    """Strided and unstrided convolutions are summed apart: an instruction has one walk."""
    m = Maker()
    x = m.pool("x")
    strided = [m.conv("x", 4, k, stride=(2, 2)) for k in (3, 1)]
    y = m.add(strided[0], m.conv(x, 4), strided[1], m.conv(x, 4, 1), activation=RELU)
    after = _check(fuse_adds, m.graph(y), ["MaxPool", "Conv", "Conv", "Add"])
    assert [len(n.terms) for n in after.nodes[1:3]] == [2, 2]
    m = Maker()
    y = m.conv("x", 4, stride=(2, 2))
    _check(fuse_adds, m.graph(m.add(y, m.conv(m.pool("x"), 4))), None)


def test_add_of_one_convolution_stays():
    m = Maker()
    y = m.conv("x", 4)
    _check(fuse_adds, m.graph(m.add(y, m.conv("x", 4, activation=RELU))), None)
    _check(fuse_adds, m.graph(m.add(y, m.conv("x", 4)), y), None)


def test_flatten_adds():
    m = Maker()
    a, b, c = (m.conv("x", 4, activation=RELU) for _ in range(3))
    after = _check(flatten_adds, m.graph(m.add(m.add(a, b), c, activation=RELU)),
                   ["Conv"] * 3 + ["Add"])  # fmt: skip
    assert isinstance(after.nodes[-1], Add)
    assert after.nodes[-1].inputs == (a, b, c)
    m = Maker()
    a, b, c = (m.conv("x", 4, activation=RELU) for _ in range(3))
    _check(flatten_adds, m.graph(m.add(m.add(a, b, activation=RELU), c)), None)


def test_merge_pointwise():
    m = Maker()
    y = m.conv(m.conv(m.conv("x", 8, stride=(2, 2)), 6, 1, activation=RELU), 3, 1)
    after = _check(merge_pointwise, m.graph(y), ["Conv", "Conv"])
    assert after.nodes[0].terms[0].weight.shape == (6, 3, 3, 3)
    assert conv_macs(after) < conv_macs(m.graph(y))


def test_merge_pointwise_into_a_sum():
    m = Maker()
    y = m.add(m.conv(m.conv("x", 9), 4, 1), m.conv("x", 4))
    before = fuse_adds(m.graph(y))
    after = _check(merge_pointwise, before, ["Conv"])
    assert isinstance(after.nodes[0], Conv)
    assert [t.weight.shape for t in after.nodes[0].terms] == [(4, 3, 3, 3)] * 2


def test_merge_pointwise_leaves_products_beyond_float32():
    m = Maker()
    y = m.conv(m.conv("x", 2, 1), 1, 1)
    for i, node in enumerate(m.nodes):
        term = replace(node.terms[0], weight=node.terms[0].weight * np.float32(1e25))
        m.nodes[i] = replace(node, terms=(term,))
    graph = m.graph(y)
    assert merge_pointwise(graph) is graph


def test_merge_pointwise_keeps_walks_apart():
    """A strided convolution cannot become a term beside an unstrided one."""
    m = Maker()
    strided = m.conv(m.conv("x", 9, stride=(2, 2)), 4, 1)
    y = m.add(strided, m.conv(m.pool("x"), 4))
    before = fuse_adds(m.graph(y))
    assert kinds(before)[-1] == "Conv"
    _check(merge_pointwise, before, None)


@pytest.mark.parametrize(
    "build",
    [
        lambda m: m.conv(m.conv("x", 2, activation=RELU), 1, 1),
        lambda m: m.conv(m.conv("x", 2), 1, 3),
        lambda m: m.conv(m.conv("x", 2), 1, 1, pads=(1, 1, 1, 1)),
        lambda m: m.conv(m.conv("x", 2), 1, 1, stride=(2, 2)),
        lambda m: m.conv(m.conv("x", 2), 9, 1),  # would take more work
    ],
)
def test_merge_pointwise_leaves(build):
    m = Maker()
    build(m)
    _check(merge_pointwise, m.graph(), None)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (2, 0, 1, 3), (3, 5, 0, 2)])
@pytest.mark.parametrize("k", [1, 2, 3, (4, 1), 5, 7])
def test_space_to_depth(k, pads, dilation):
    m = Maker((3, 24, 26))
    y = m.conv("x", 4, k, stride=(2, 2), pads=pads, dilation=(dilation, 1))
    after = _check(space_to_depth, m.graph(y), ["Conv"])
    assert after.tensors["x"].shape == (12, 12, 13)
    assert after.host_input.space_to_depth == 2


@pytest.mark.parametrize(
    ("k", "stride", "pads"),
    [(11, 4, (2, 2, 2, 2)), (4, 4, (0, 0, 0, 0)), (5, 3, (1, 2, 0, 4)), (8, 8, (0, 0, 0, 0))],
)
def test_space_to_depth_of_other_strides(k, stride, pads):
    """AlexNet's, whose pixels four apart are read one a cycle; patches; others."""
    m = Maker((3, 48, 24))
    y = m.conv("x", 4, k, stride=(stride, stride), pads=pads)
    after = _check(space_to_depth, m.graph(y), ["Conv"])
    assert after.tensors["x"].shape == (3 * stride**2, 48 // stride, 24 // stride)
    assert after.host_input.space_to_depth == stride


def test_space_to_depth_of_a_common_stem():
    m = Maker()
    y = m.conv("x", 8, stride=(2, 2))
    (term,) = space_to_depth(m.graph(y)).nodes[0].terms
    assert term.weight.shape == (8, 12, 2, 2)
    assert (term.stride, term.pads) == ((1, 1), (1, 1, 0, 0))


@pytest.mark.parametrize(
    ("shape", "build"),
    [
        ((3, 9, 10), lambda m: m.conv("x", 4, stride=(2, 2))),
        ((3, 8, 10), lambda m: m.conv("x", 4, stride=(2, 1))),
        ((3, 8, 10), lambda m: m.add(m.conv("x", 4, stride=(2, 2)), m.conv(m.pool("x"), 4))),
        ((4, 8, 10), lambda m: m.conv("x", 4, groups=2, stride=(2, 2))),
        ((3, 8, 8), lambda m: m.conv("x", 4, 3, stride=(4, 4))),  # not all pixels
    ],
)
def test_space_to_depth_leaves(shape, build):
    m = Maker(shape)
    build(m)
    _check(space_to_depth, m.graph(), None)


def test_space_to_depth_leaves_a_sum_with_another_map():
    """Only one of two maps that one convolution walks would change its size."""
    m = Maker()
    other = m.resize(m.conv("x", 4, stride=(2, 2)), (8, 10))
    y = m.add(*(m.conv(name, 4, stride=(2, 2)) for name in ("x", other)))
    before = fuse_adds(m.graph(y))
    assert len(before.nodes[-1].terms) == 2
    _check(space_to_depth, before, None)


@pytest.mark.parametrize(
    ("shape", "window", "kernels"),
    [
        ((2, 15, 17), {"kernel": (15, 17), "stride": (2, 2)}, None),
        ((2, 15, 17), {"kernel": (15, 17)}, [(15, 1), (1, 17)]),
        ((2, 16, 17), {"kernel": (16, 17)}, [(16, 1), (1, 17)]),
        ((2, 1, 300), {"kernel": (1, 300)}, [(1, 255), (1, 4)]),
        ((2, 9, 9), {"kernel": (5, 5), "pads": (2, 2, 2, 2)}, [(5, 1), (1, 5)]),
        ((2, 9, 9), {"kernel": (3, 5)}, None),
        ((2, 9, 9), {"kernel": (5, 5), "stride": (2, 2)}, None),
        ((1, 400, 260), {"kernel": (400, 260)}, [(250, 1), (11, 1), (1, 245), (1, 2)]),
        (
            (2, 40, 40),
            {"kernel": (20, 18), "stride": (3, 2), "pads": (4, 0, 9, 5), "dilation": (1, 2)},
            [(20, 1), (1, 18)],
        ),
    ],
)
def test_split_large_pools(shape, window, kernels):
    m = Maker(shape)
    before = m.graph(m.conv(m.max_pool("x", **window), 3))
    count = 1 if kernels is None else len(kernels)
    expected = None if kernels is None else ["MaxPool"] * count + ["Conv"]
    after = _check(split_large_pools, before, expected)
    assert [n.kernel for n in after.nodes[:-1]] == (kernels or [window["kernel"]])
    if kernels:
        assert split_large_pools(after) is after
