import numpy as np
import pytest

from fpga_gen.contract.numerics import I8
from fpga_gen.graph.interpreter import run_float, run_node
from fpga_gen.graph.ir import Conv, ConvTerm, Graph, Mul, Tensor
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.precision import (
    candidates,
    choose_precision,
    fake_quantise,
    measure_damage,
)
from fpga_gen.quant.quantise import quantise
from fpga_gen.quant.ranges import stored_tensors, tensor_formats
from fpga_gen_host.model_input import HostInput
from tests.engines import SMALL
from tests.quant.networks import all_nodes, images


def product_chain() -> Graph:
    """An encoder of some work and a product of products, whose range is far beyond its bulk."""
    rng = np.random.default_rng(1)

    def conv(name: str, source: str, out: str, fan: int, n: int, k: int) -> Conv:
        weight = rng.standard_normal((n, fan, k, k)) / np.sqrt(fan * k * k)
        pads = (k // 2,) * 4
        return Conv(name, (ConvTerm(source, weight.astype(np.float32), pads=pads),),
                    np.zeros(n, np.float32), out)  # fmt: skip

    nodes = (
        conv("one", "x", "a", 3, 16, 5),
        conv("two", "a", "b", 16, 16, 5),
        conv("three", "b", "c", 16, 8, 3),
        Mul("square", ("c", "c"), "p"),
        Mul("cube", ("p", "c"), "q"),
        Mul("fifth", ("q", "p"), "r"),
        conv("head", "r", "y", 8, 4, 1),
    )
    sizes = {"x": 3, "a": 16, "b": 16, "y": 4}
    tensors = {n: Tensor(n, sizes.get(n, 8), 12, 12) for n in "xabcpqry"}
    return Graph("chain", "x", ("y",), tensors, nodes, HostInput((3, 12, 12)))


def test_fake_quantise_rounds_and_saturates():
    values = np.array([-99.0, -0.26, 0.24, 0.26, 99.0], np.float32)
    assert fake_quantise(values, 0.5, I8).tolist() == [-64.0, -0.5, 0.0, 0.5, 63.5]


def test_products_become_wide_and_the_encoder_does_not():
    graph = product_chain()
    options = QuantOptions(wide_mac_share=0.6)  # elementwise work weighs much in a network so small
    qgraph = quantise(graph, SMALL, images(4, (3, 12, 12)), options=options)
    wide = set(qgraph.facts["wide_tensors"])
    assert "r" in wide
    assert not wide & {"a", "b"}
    assert qgraph.facts["wide_mac_share"] <= 0.6


def test_target_stops_the_choice():
    graph = product_chain()
    pictures = images(2, (3, 12, 12))
    scales = {t: 0.05 for t in graph.tensors}
    formats = {t: I8 for t in graph.tensors}

    def choose(db: float):
        return choose_precision(
            graph,
            pictures,
            scales,
            formats,
            QuantOptions(activation_target_db=db, wide_mac_share=1.0, wide_worth=0.0),
        )

    strict, loose, none = choose(25.0), choose(10.0), choose(-60.0)
    assert none.wide == ()
    assert len(loose.wide) < len(strict.wide)
    assert strict.wide[: len(loose.wide)] == loose.wide
    assert none.predicted_db < loose.predicted_db < strict.predicted_db
    left = sum(d for t, d in strict.damage.items() if t not in strict.wide)
    assert strict.predicted_db == pytest.approx(-10 * np.log10(left))


def test_candidates_respect_pools_and_budget():
    graph = all_nodes()
    names = set(candidates(graph, QuantOptions(wide_mac_share=1.0)))
    assert not names & {"a", "b", "bde"}
    assert {"image", "m", "q", "h", "z"} <= names
    narrow = set(candidates(graph, QuantOptions(wide_mac_share=0.01)))
    assert "m" not in narrow
    assert {"h", "z"} <= narrow
    assert "image" not in candidates(graph, QuantOptions(wide_input=False))


def rounded_alone(graph, image, name: str, scale: float, fmt) -> float:
    """Relative noise power at the outputs when one map is rounded, by running the network again."""
    values = run_float(graph, image)
    changed = {**values, name: fake_quantise(values[name], scale, fmt)}
    dirty = {name}
    for node in graph.nodes:
        if node.output != name and dirty & set(node.inputs):
            changed[node.output] = run_node(node, changed)
            dirty.add(node.output)
    return max(
        float(np.square(changed[o].astype(np.float64) - values[o]).sum() / np.square(v).sum())
        for o, v in ((o, values[o].astype(np.float64)) for o in graph.outputs)
    )


def test_damage_is_what_rounding_each_map_alone_does():
    graph = all_nodes()
    names = [t for t in stored_tensors(graph) if t != "b"]
    formats = tensor_formats(graph, set())
    estimate, truth = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for number, image in enumerate(images(12)):
        values = run_float(graph, image)
        scales = {
            n: float(np.abs(values[n]).max()) / (formats[n].hi - formats[n].zero) for n in formats
        }
        found = measure_damage(graph, image, scales, formats, np.random.default_rng(number))
        assert set(found) == set(names)  # the pool's output is its input's
        for name in names:
            estimate[name] += found[name]
            truth[name] += rounded_alone(graph, image, name, scales[name], formats[name])
    for name in names:
        assert abs(10 * np.log10(estimate[name] / truth[name])) < 3, name


def test_a_map_that_costs_more_than_it_gives_stays_8_bit():
    graph = product_chain()
    pictures = images(2, (3, 12, 12))
    scales, formats = {t: 0.05 for t in graph.tensors}, {t: I8 for t in graph.tensors}

    def wide(worth: float) -> set[str]:
        options = QuantOptions(activation_target_db=60.0, wide_mac_share=1.0, wide_worth=worth)
        return set(choose_precision(graph, pictures, scales, formats, options).wide)

    assert wide(1e9) < wide(8.0) < wide(0.0)


def test_a_result_that_takes_long_to_leave_stays_8_bit():
    """Of two results that nothing reads, the one of 16,384 elements costs more than the layers."""
    rng = np.random.default_rng(2)

    def conv(name: str, source: str, out: str, shape: tuple, **kind) -> Conv:
        weight = rng.standard_normal(shape).astype(np.float32)
        return Conv(name, (ConvTerm(source, weight, **kind),), np.zeros(shape[0], np.float32), out)

    nodes = (
        conv("trunk", "x", "a", (16, 3, 5, 5), pads=(2, 2, 2, 2)),
        conv("boxes", "a", "large", (64, 16, 1, 1)),
        conv("score", "a", "small", (4, 16, 16, 16)),
    )
    sizes = {"x": (3, 16, 16), "a": (16, 16, 16), "large": (64, 16, 16), "small": (4, 1, 1)}
    tensors = {name: Tensor(name, *shape) for name, shape in sizes.items()}
    graph = Graph("ends", "x", ("large", "small"), tensors, nodes, HostInput((3, 16, 16)))
    scales = {"x": 0.02, "a": 0.2, "large": 1.0, "small": 20.0}
    options = QuantOptions(activation_target_db=80.0, wide_mac_share=1.0)
    formats = {t: I8 for t in tensors}
    found = choose_precision(graph, images(2, (3, 16, 16)), scales, formats, options)
    assert found.damage["large"] > 0
    assert "small" in found.wide
    assert "large" not in found.wide
