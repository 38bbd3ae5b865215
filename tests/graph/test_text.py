"""The text form: complete, stable, readable."""

from dataclasses import replace

from fpga_gen.graph.ir import Clip
from fpga_gen.graph.passes.stem import space_to_depth
from fpga_gen.graph.text import graph_text
from fpga_gen_host.host_ops import HostOp
from tests.graph.graphs import RELU, Maker

GOLDEN = """\
graph net
input x: 12x4x5 <- 3x8x10 depth 2
t0: 4x4x5 = conv x * 4x12x2x2 |0.447| p1,1,0,0 relu
t1: 4x4x5 = conv t0 * 4x1x1x1 |0.433| g4
t2: 8x4x5 = concat t0 t1
t3: 6x4x5 = conv t2 * 6x8x1x3 |0.838| p0,2,0,2 d1,2
t4: 6x4x5 = conv t2 * 6x8x3x3 |0.789| p1,1,1,1
t5: 6x4x5 = add t3 t4 relu
t6: 6x4x5 = mul t5 t4 clip[-1,6]
t7: 6x2x5 = resample t6 y[4->2 taps 2 /2] x[copy]
t8: 6x1x4 = max_pool t7 k2 s1
output out0 = t8
host t8: resize mode=linear size=[8, 8]
host t8: sigmoid
"""


def _graph():
    m = Maker()
    y = m.conv("x", 4, stride=(2, 2), clip=RELU)
    both = m.concat(y, m.affine(y))
    a = m.conv(both, 6, (1, 3), pads=(0, 2, 0, 2), dilation=(1, 2))
    b = m.conv(both, 6)
    m.pool(m.resize(m.mul(m.add(a, b, clip=RELU), b, clip=Clip(-1, 6)), (2, 5)), 2, 1)
    graph = space_to_depth(m.graph())
    ops = (HostOp("resize", "t8", {"size": [8, 8], "mode": "linear"}), HostOp("sigmoid", "t8"))
    return replace(graph, host_ops=ops)


def test_golden():
    assert graph_text(_graph()) == GOLDEN


def test_weights_show():
    graph = _graph()
    term = replace(graph.nodes[0].terms[0], weight=graph.nodes[0].terms[0].weight * 2)
    other = replace(graph, nodes=(replace(graph.nodes[0], terms=(term,)), *graph.nodes[1:]))
    assert graph_text(other) == GOLDEN.replace("|0.447|", "|0.893|")
