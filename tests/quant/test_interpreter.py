from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.numerics import I8, I16
from fpga_gen.errors import QuantError
from fpga_gen.quant.convolve import convolve, exact_dtype, pad_map
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer, sqnr_db
from fpga_gen.quant.ir import QConv, QTensor
from fpga_gen_host.errors import InputError
from fpga_gen_host.model_input import HostInput
from tests.quant.naive import run_naive
from tests.quant.networks import random_qgraph


@pytest.mark.parametrize("seed", range(4))
def test_equals_naive_loops_on_all_nodes(seed):
    qgraph = random_qgraph(seed)
    stored = np.random.default_rng(seed).integers(-128, 128, (3, 7, 8)).astype(np.int8)
    got, want = run_integer(qgraph, stored), run_naive(qgraph, stored)
    assert set(got) == set(want) == set(qgraph.tensors)
    for name, value in want.items():
        assert got[name].dtype == (np.int16 if qgraph.tensors[name].format.bits == 16 else np.int8)
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert all(np.unique(v).size > 2 for v in got.values()), "vectors must not saturate"


def test_extreme_values_stay_exact():
    """Worst-case 8-bit sums of 2048 inputs exceed 2^24, where float32 alone would round."""
    rng = np.random.default_rng(3)
    weight = rng.choice(np.array([-127, 127], np.int8), (2, 2048, 1, 1))
    values = np.where(weight[0, :, 0, 0] > 0, 127, -128).astype(np.int64)[:, None, None]
    dtype = exact_dtype(weight, 128)
    assert dtype == np.float64
    got = convolve(pad_map([values], (0, 0, 0, 0), dtype), weight, (1, 1), (1, 1))
    want = (weight[:, :, 0, 0].astype(np.int64) * values[:, 0, 0]).sum(1)
    assert want[0] > 2**24
    assert got[:, 0, 0].astype(np.int64).tolist() == want.tolist()
    assert exact_dtype(weight[:, :512], 128) == np.float32


def test_chunks_of_rows_do_not_change_the_result():
    rng = np.random.default_rng(4)
    image = rng.integers(-9, 9, (40, 70, 66)).astype(np.float32)
    weight = rng.integers(-9, 9, (3, 40, 3, 3))
    whole = convolve(image, weight, (1, 1), (1, 1))  # columns of 23 MB: many chunks
    for row in (0, 33, 67):
        part = convolve(image[:, row : row + 3], weight, (1, 1), (1, 1))
        np.testing.assert_array_equal(whole[:, row], part[:, 0])


def test_accumulator_overflow_is_caught():
    qgraph = random_qgraph(0)
    first = qgraph.nodes[0]
    assert isinstance(first, QConv)
    bad = replace(first, bias=np.full(4, 2**31 - 1, np.int32))
    qgraph = replace(qgraph, nodes=(bad, *qgraph.nodes[1:]))
    with pytest.raises(QuantError, match="32 bits"):
        run_integer(qgraph, np.full((3, 7, 8), 127, np.int8))


def test_input_is_rounded_clipped_and_rearranged():
    qgraph = random_qgraph(0)
    tensor = QTensor("x", 12, 2, 3, 0.5, I8)
    qgraph = replace(
        qgraph, tensors={**qgraph.tensors, "x": tensor}, host_input=HostInput((3, 4, 6), 2)
    )
    image = np.random.default_rng(0).uniform(-80, 80, (3, 4, 6)).astype(np.float32)
    got = quantise_input(qgraph, image)
    assert got.dtype == np.int8
    for py, px, c in ((0, 0, 0), (1, 0, 2), (1, 1, 1)):
        want = np.clip(np.rint(image[c, py::2, px::2] / 0.5), -128, 127)
        np.testing.assert_array_equal(got[(py * 2 + px) * 3 + c], want)
    wide = replace(qgraph, tensors={**qgraph.tensors, "x": replace(tensor, format=I16, scale=0.01)})
    stored = quantise_input(wide, image)
    assert stored.dtype == np.int16
    real = dequantise(wide, "x", stored)[:3]
    assert np.abs(real - image[:, ::2, ::2]).max() <= 0.005001


def test_wrong_shapes_are_refused():
    qgraph = random_qgraph(0)
    with pytest.raises(InputError, match="shape"):
        quantise_input(qgraph, np.zeros((3, 8, 8), np.float32))
    with pytest.raises(QuantError, match="stored input"):
        run_integer(qgraph, np.zeros((1, 7, 8), np.int8))


def test_sqnr():
    assert sqnr_db(np.ones(4), np.ones(4) * 1.1) == pytest.approx(20)
    assert sqnr_db(np.ones(4), np.ones(4)) == float("inf")
