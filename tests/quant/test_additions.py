"""Sums of maps as convolutions: how well factors are held, and what becomes of the results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.column_kinds import weight_codes
from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.numerics import (
    I8,
    I16,
    INT8,
    SP2_4,
    TWO_TERM,
    TWO_TERM_SMALL,
    U8,
    multiplier,
)
from fpga_gen.quant.additions import MAX_ERROR, as_convolution, held_factors, holds_sums
from fpga_gen.quant.interpreter import run_node
from fpga_gen.quant.ir import QAdd, QConv, QTensor, QuantGraph
from fpga_gen_host.model_input import HostInput
from tests.quant.naive import naive_node

CHANNELS, SIZE = 12, (5, 6)
KINDS = (0, 1) * (CHANNELS // 2)


def maps(formats, scales=(0.03, 0.05, 0.041)) -> dict[str, QTensor]:
    """Tensors a, b (, ...) and the result y of the last format and scale."""
    names = [*"abcd"[: len(formats) - 1], "y"]
    return {
        name: QTensor(name, CHANNELS, *SIZE, scale, fmt, KINDS)
        for name, fmt, scale in zip(names, formats, scales, strict=False)
    }


def addition(tensors: dict[str, QTensor], factors: tuple[int, ...]) -> QAdd:
    """The sum of all but y, clipped to the middle of its format."""
    *inputs, out = tensors.values()
    unit = inputs[0].scale / factors[0]
    mult, shift = multiplier(unit / out.scale)
    names = tuple(t.name for t in inputs)
    epilogue = Epilogue(out.format, out.format.lo + 3, out.format.hi - 5)
    return QAdd("add", names, factors, out.name, mult, shift, epilogue)


def graph_of(tensors: dict[str, QTensor], node: QConv) -> QuantGraph:
    """A network of one node, as far as the interpreters look."""
    host = HostInput((CHANNELS, *SIZE))
    return QuantGraph("sum", node.inputs[0], (node.output,), tensors, (node,), TWO_TERM, host)


def stored(tensors: dict[str, QTensor], rng) -> dict[str, np.ndarray]:
    return {
        t.name: rng.integers(t.format.lo, t.format.hi + 1, (CHANNELS, *SIZE))
        for t in tensors.values()
    }


@pytest.mark.parametrize("code", [INT8, TWO_TERM], ids=lambda c: c.name)
def test_factors_are_held(code) -> None:
    rng = np.random.default_rng(3)
    assert holds_sums(code)
    for ratio in rng.uniform(0.02, 1, 60):
        factors = tuple(int(f) for f in rng.permutation([32767, round(32767 * ratio)]))
        high, low, scale = held_factors(factors, (255, 255), code)
        assert np.isin([high, low], code.levels).all()
        error = (256 * high + low) / scale - np.array(factors)
        assert np.abs(error).max() * 255 < MAX_ERROR * 32767
        assert low.all()


@pytest.mark.parametrize("code", [TWO_TERM_SMALL, SP2_4], ids=lambda c: c.name)
def test_coarse_codes_hold_none(code) -> None:
    assert not holds_sums(code)
    tensors = maps((U8, I8, U8))
    assert as_convolution(addition(tensors, (300, 500)), tensors, code) is None


@pytest.mark.parametrize("formats", [(U8, U8, U8), (I8, U8, I8), (I8, I8, U8)], ids=str)
@pytest.mark.parametrize("factors", [(19000, 31999), (32767, -800), (300, 300)])
def test_results_differ_by_less_than_a_tenth_of_a_step(formats, factors) -> None:
    tensors = maps(formats)
    node = addition(tensors, factors)
    conv = as_convolution(node, tensors, TWO_TERM)
    assert conv is not None
    assert conv.is_sum
    for term in conv.terms:
        weight = term.weight[:, :, 0, 0]
        assert (weight == np.diag(np.diag(weight))).all()
        for kind, code in weight_codes(TWO_TERM).items():
            assert np.isin(weight[np.array(KINDS) == kind], code.levels).all()
    graph = graph_of(tensors, conv)
    values = stored(tensors, np.random.default_rng(1))
    found = run_node(graph, conv, values)
    exact = sum(
        f * (values[n].astype(np.float64) - tensors[n].format.zero)
        for f, n in zip(node.factors, node.inputs, strict=True)
    )
    exact = exact * node.mult / 2.0**node.shift + tensors["y"].format.zero
    exact = np.clip(exact, node.epilogue.lo, node.epilogue.hi)
    assert np.abs(found - exact).max() < 0.5 + MAX_ERROR
    assert (found != run_node(graph, node, values)).mean() < 0.02


def test_a_table_comes_behind_the_sum() -> None:
    tensors = maps((U8, I8, I8))
    table = tuple(int(v) for v in np.random.default_rng(2).integers(-128, 128, 256))
    node = replace(addition(tensors, (300, 500)), epilogue=Epilogue.through(table, I8))
    conv = as_convolution(node, tensors, TWO_TERM)
    assert conv is not None
    assert conv.epilogue == node.epilogue


def test_the_reference_equals_the_definition() -> None:
    tensors = maps((U8, I8, U8))
    conv = as_convolution(addition(tensors, (19000, 31999)), tensors, TWO_TERM)
    assert conv is not None
    graph = graph_of(tensors, conv)
    values = stored(tensors, np.random.default_rng(4))
    assert (run_node(graph, conv, values) == naive_node(graph, conv, values)).all()


@pytest.mark.parametrize(
    ("formats", "factors"),
    [
        ((U8, U8, U8, U8), (1, 2, 3)),
        ((I16, U8, U8), (1, 2)),
        ((U8, U8, I16), (1, 2)),
        ((U8, U8, U8), (1, 0)),
    ],
    ids=["three maps", "a wide map", "a wide result", "no factor"],
)
def test_what_stays_with_the_vector_unit(formats, factors) -> None:
    tensors = maps(formats, (0.03,) * len(formats))
    assert as_convolution(addition(tensors, factors), tensors, TWO_TERM) is None
