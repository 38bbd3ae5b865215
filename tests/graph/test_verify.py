"""Every rule of the IR is enforced, and the error names node, ONNX name and rule."""

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.errors import UnsupportedModel
from fpga_gen.graph.axis import identity_axis
from fpga_gen.graph.ir import Activation, AxisTable, Tensor
from fpga_gen.graph.verify import GraphRuleError, verify
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput
from tests.graph.graphs import Maker


def _graph():
    m = Maker((3, 8, 10))
    y = m.conv("x", 4)  # 0
    z = m.pool(y)  # 1
    both = m.concat(y, y)  # 2
    total = m.add(y, y)  # 3
    product = m.mul(y, total)  # 4
    return m.graph(z, m.conv(both, 2), m.copy(product))  # 5, 6


def _node(index, **changes):
    def change(graph):
        node = replace(graph.nodes[index], onnx_name="origin", **changes)
        return replace(graph, nodes=(*graph.nodes[:index], node, *graph.nodes[index + 1 :]))

    return change


def _term(**changes):
    def change(graph):
        term = replace(graph.nodes[0].terms[0], **changes)
        return _node(0, terms=(term,))(graph)

    return change


def _whole(**changes):
    return lambda graph: replace(graph, **changes)


def _resized(graph):
    return replace(graph, tensors={**graph.tensors, "t1": Tensor("t1", 4, 5, 5)})


ONE = np.zeros((4, 3, 3, 3), np.float32)
BROKEN = {
    "order": (lambda g: replace(g, nodes=g.nodes[::-1]), "before it is computed"),
    "twice": (_node(1, output="t0"), "written twice"),
    "no tensor": (_node(1, output="nowhere"), "has no tensor"),
    "name": (_node(1, name="node0"), "not unique"),
    "pool size": (_resized, "MaxPool 'node1': output is"),
    "pool pads": (_node(1, pads=(-1, 0, 0, 0)), "pads must not be negative"),
    "activation": (
        _node(0, activation=Activation(1, 0)),
        r"Conv 'node0' \(ONNX node 'origin'\): activation has lo > hi",
    ),
    "no terms": (_node(0, terms=()), "a Conv needs a term"),
    "bias": (_node(0, bias=np.zeros(3, np.float32)), "bias has shape"),
    "double": (_node(0, bias=np.zeros(4)), "must be float32"),
    "weight": (_term(weight=np.zeros((4, 2, 3, 3), np.float32)), "does not fit 3 channels"),
    "pads": (_term(pads=(-1, 1, 1, 1)), "output is"),
    "stride": (_term(weight=ONE, stride=(2, 2)), r"output is \(4, 8, 10\)"),
    "add": (_node(3, inputs=("t0",)), "Add of 1 maps"),
    "mul": (_node(4, inputs=("t0", "t0", "t0")), "Mul of 3 maps"),
    "add shapes": (_node(3, inputs=("t0", "x")), "shapes differ"),
    "concat": (_node(2, inputs=("t0", "x")), "output is"),
    "concat sizes": (_node(2, inputs=("t0", "t1")), "map sizes differ"),
    "axis size": (_node(6, y=identity_axis(9)), "axis table is for 9"),
    "axis sum": (_node(6, y=AxisTable(8, tuple(range(8)), ((2,),) * 8, 1)), "do not sum"),
    "axis tap": (_node(6, y=AxisTable(8, tuple(range(1, 9)), ((1,),) * 8, 1)), "outside"),
    "axis rows": (
        _node(6, y=AxisTable(8, tuple(range(8)), (*((1,),) * 7, (0, 1)), 1)), "ragged"
    ),
    "axis result": (
        _node(6, y=AxisTable(8, (0,) * 4, ((1,),) * 4, 1)), r"not \(4, 4, 10\)"
    ),
    "no outputs": (_whole(outputs=(), output_names=()), "no outputs"),
    "output twice": (_whole(outputs=("t1", "t1", "t5")), "listed twice"),
    "names": (_whole(output_names=("a",)), "outputs and output_names differ"),
    "unknown output": (_whole(outputs=("t1", "t5", "t9")), "'t9' is not computed"),
    "host kind": (_whole(host_ops=(HostOp("fft", "t1"),)), "'fft' is unknown"),
    "host target": (_whole(host_ops=(HostOp("sigmoid", "t0"),)), "works on 't0', no output"),
    "host input": (_whole(host_input=HostInput((3, 8, 10), 2)), "does not follow"),
    "input": (_whole(input="y"), "input 'y' has no tensor"),
    "stray": (
        lambda g: replace(g, tensors={**g.tensors, "s": Tensor("s", 1, 1, 1)}),
        "tensor 's' has no producer",
    ),
    "empty": (
        lambda g: replace(g, tensors={**g.tensors, "s": Tensor("s", 1, 0, 1)}), "'s' is empty"
    ),
    "filed": (
        lambda g: replace(g, tensors={**g.tensors, "s": Tensor("r", 1, 1, 1)}), "filed under 's'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_rule(case):
    change, pattern = BROKEN[case]
    graph = _graph()
    verify(graph)
    with pytest.raises(GraphRuleError, match=pattern):
        verify(change(graph))


def test_lowered_rules():
    m = Maker()
    both = m.concat("x", m.conv("x", 3, groups=3))
    m.conv(both, 2)
    verify(m.graph(), lowered=True)
    m = Maker()
    both = m.concat("x", "x")
    with pytest.raises(GraphRuleError, match="output 't0' is a Concat"):
        verify(m.graph(both), lowered=True)
    m.pool(both)
    with pytest.raises(GraphRuleError, match="MaxPool 'node1': only Conv may read a Concat"):
        verify(m.graph(), lowered=True)
    m = Maker()
    m.conv(m.concat("x", "x"), 2)
    verify(m.graph(), lowered=True)


def test_weights_that_are_no_numbers():
    with pytest.raises(UnsupportedModel, match=r"Conv 'node0'.*not finite in float32"):
        verify(_node(0, bias=np.full(4, np.nan, np.float32))(_graph()))
