"""What the engine cannot run is refused with the layer's name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.numerics import DSP, I8, I16, SP2, U8
from fpga_gen.errors import ScheduleError
from fpga_gen.graph.ir import AxisTable
from fpga_gen.quant.ir import QAdd, QConv, QMaxPool, QuantGraph
from fpga_gen.schedule.compile import compile_schedule
from tests.engines import SMALL
from tests.schedule.graphs import Builder, identity_table


def refuse(graph: QuantGraph, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        compile_schedule(graph, SMALL)


def with_node(graph: QuantGraph, index: int, **changes) -> QuantGraph:
    nodes = list(graph.nodes)
    nodes[index] = replace(nodes[index], **changes)
    return replace(graph, nodes=tuple(nodes))


def test_terms_of_different_strides() -> None:
    b = Builder("strides", SMALL)
    image = b.input(4, 8, 8)
    half = b.simple(image, 4, 1, U8, stride=(2, 2))
    kinds = b.kinds(4)
    terms = [b.term(half, kinds), b.term(image, kinds, stride=(2, 2))]
    b.conv(terms, kinds)
    refuse(b.graph(), "'conv1'.*different sizes or strides")


def test_accumulator_overflow() -> None:
    b = Builder("overflow", SMALL)
    b.simple(b.simple(b.input(4, 3, 3), 8, 1, I16), 4, 3, I16, top=60)
    graph = b.graph()
    conv = graph.nodes[1]
    assert isinstance(conv, QConv)
    limit = 2**31 - 1
    high_bias = np.full_like(conv.bias, limit)
    refuse(with_node(graph, 1, bias=high_bias), "'conv1': partial sums can reach .* beyond 32 bits")


def test_elementwise_overflow() -> None:
    b = Builder("overflow", SMALL)
    x = b.simple(b.input(4, 3, 3), 4, 1, I16)
    b.add((x, x), I16)
    graph = b.graph()
    assert isinstance(graph.nodes[1], QAdd)
    refuse(with_node(graph, 1, factors=(-32768, 32768)), "'add1': sums can reach 2147483648")
    compile_schedule(with_node(graph, 1, factors=(-32768, 32767)), SMALL)


def test_too_many_sources() -> None:
    b = Builder("sources", SMALL)
    x = b.simple(b.input(4, 3, 3), 4, 1, I8)
    b.add((x,) * 5, I8, top=9)
    refuse(b.graph(), "'add1' adds 5 maps, at most 4")


def test_wide_max_pool() -> None:
    b = Builder("pool", SMALL)
    x = b.pool(b.simple(b.input(4, 4, 4), 4, 1, U8), 2, 2)
    graph = b.graph()
    wide = {n: replace(t, format=I16) if n in ("t0", x) else t for n, t in graph.tensors.items()}
    conv, pool = graph.nodes
    assert isinstance(pool, QMaxPool)
    conv = replace(conv, epilogue=Epilogue.whole(I16))
    refuse(replace(graph, tensors=wide, nodes=(conv, pool)), "'pool1'.*8-bit")


def test_vertical_stride() -> None:
    b = Builder("stride", SMALL)
    b.simple(b.input(4, 40, 4), 4, 1, U8, stride=(16, 1))
    refuse(b.graph(), "'conv0': vertical stride 16")


def test_interpolation_tables() -> None:
    b = Builder("wide", SMALL)
    table = AxisTable(2, (0,) * 1200, ((1, 1),) * 1199 + ((2, 0),), 2)  # no pattern repeats
    b.resample(b.input(4, 2, 2), identity_table(2), table, I8)
    refuse(b.graph(), "'resample0'.*1200 exceed the tables")
    b = Builder("negative", SMALL)
    b.resample(b.input(4, 2, 2), identity_table(2), AxisTable(2, (0,), ((-1, 3),), 2), I8)
    refuse(b.graph(), "'resample0': interpolation weights must be 0..255")


def test_elementwise_maps_of_different_order() -> None:
    b = Builder("order", SMALL)
    image = b.input(4, 3, 3)
    kinds = (SP2, DSP, DSP, SP2)  # the image's channels lie in their own order
    b.mul(image, b.conv(b.term(image, kinds), kinds, I8), I8)
    refuse(b.graph(), "'mul1': 't0' and 't1' differ in channel order")


def test_weights_that_are_no_levels_of_the_code() -> None:
    b = Builder("levels", SMALL)
    b.simple(b.input(4, 3, 3), 8, 1, I8)
    graph = b.graph()
    conv = graph.nodes[0]
    assert isinstance(conv, QConv)
    term = replace(conv.terms[0], weight=np.full_like(conv.terms[0].weight, 19))
    refuse(with_node(graph, 0, terms=(term,)), "'conv0': a weight is not a level of the two-term-6")


def test_kinds_that_do_not_fit_the_columns() -> None:
    b = Builder("kinds", SMALL)
    name = b.simple(b.input(4, 3, 3), 6, 1, I8)
    graph = b.graph()
    tensors = {**graph.tensors, name: replace(graph.tensors[name], kinds=(0,) * 6)}
    refuse(replace(graph, tensors=tensors), "tensor 't0' has 6 int8 and 0 SP2 filters")


def test_rows_that_no_address_reaches() -> None:
    assert replace(SMALL, bank_rows=8192).words == 8192 * SMALL.banks
    with pytest.raises(ScheduleError, match="bank_rows must be at most 8192"):
        replace(SMALL, bank_rows=8193)
