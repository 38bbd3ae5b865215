"""Import of QDQ models: real function, hints, grids, and malformed pairs."""

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import check_onnx, import_onnx
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Activation, Conv, TensorHint
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen_host.host_ops import run_host_ops
from tests.frontend.onnx_models import Net, assert_like_onnxruntime, run_reference
from tests.frontend.qdq_models import branches, chain, initializers, pictures, quantised


@pytest.mark.parametrize("signed", [True, False])
def test_pairs_become_saturation_and_hints(tmp_path, signed):
    path = quantised(chain(tmp_path), signed=signed)
    graph = optimise(import_onnx(path))
    assert [type(n).__name__ for n in graph.nodes] == ["Conv", "Conv", "MaxPool", "Conv", "Add",
                                                       "Conv"]  # fmt: skip
    assert graph.hints is not None
    assert graph.hints.notes == ()
    hints, values = graph.hints.tensors, initializers(path)
    assert {h.signed for h in hints.values()} == {signed}
    first = graph.nodes[0]
    hint = hints[first.output]
    assert hint == TensorHint(
        float(values["n1_scale"]), int(values["n1_zero_point"]), signed
    )  # the Relu is gone from the file: the zero point stands for it
    assert first.activation == Activation(0.0, pytest.approx(255 * hint.scale))
    assert {graph.input, *(n.output for n in graph.nodes)} <= set(hints)
    for node in (n for n in graph.nodes if isinstance(n, Conv)):
        (term,) = node.terms
        levels = term.weight / term.grid[:, None, None, None]
        assert np.abs(levels - np.rint(levels)).max() < 1e-4
        assert np.abs(levels).max() <= 128
    np.testing.assert_allclose(first.terms[0].grid, values["c0_scale"])


def test_float_function_is_that_of_the_model_up_to_rounding(tmp_path):
    path = quantised(chain(tmp_path))
    graph = optimise(import_onnx(path))
    for image in pictures(3, seed=5):
        (want,) = run_reference(path, image)
        got = run_float(graph, image)[graph.outputs[0]]
        step = graph.hints.tensors[graph.outputs[0]].scale
        assert np.abs(got - want[0]).max() < 5 * step


def test_relu_that_stays_is_fused_and_its_input_keeps_its_levels(tmp_path):
    graph = optimise(import_onnx(quantised(chain(tmp_path), symmetric=True)))
    lost = set(graph.hints.tensors) - set(graph.tensors)
    assert len(lost) == 3  # inputs of the three Relus
    assert {graph.hints.same[n] for n in lost} <= set(graph.tensors)


def test_stem_rewrite_keeps_grid_and_merge_leaves_imported_weights(tmp_path):
    net = Net(shape=(1, 3, 12, 12), opset=17)
    weights = []
    for shape in ((8, 3, 3, 3), (2, 8, 1, 1)):
        levels = net.const(net.rng.integers(-127, 128, shape), np.int8)
        step = net.const(net.rng.uniform(0.01, 0.02, shape[0]))
        zeros = net.const(np.zeros(shape[0]), np.int8)
        weights.append(net.op("DequantizeLinear", levels, step, zeros, axis=0))
    a = net.op("Conv", "x", weights[0], strides=[2, 2], pads=[1, 1, 1, 1])
    net.op("Conv", a, weights[1])
    graph = assert_like_onnxruntime(net.save(tmp_path))
    assert graph.host_input.space_to_depth == 2
    assert len(graph.nodes) == 2
    assert graph.hints.tensors == {}
    for node in graph.nodes:
        levels = node.terms[0].weight / node.terms[0].grid[:, None, None, None]
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)


def test_concat_keeps_hints_of_its_parts(tmp_path):
    graph = optimise(import_onnx(quantised(branches(tmp_path))))
    (concat,) = (n for n in graph.nodes if type(n).__name__ == "Concat")
    assert {*concat.inputs, concat.output} <= set(graph.hints.tensors)


def test_gemm_weights_along_either_axis(tmp_path):
    net = Net(shape=(1, 3, 2, 2), opset=17)
    flat = net.op("Flatten", "x")
    levels = net.const(net.rng.integers(-127, 128, (12, 4)), np.int8)
    weight = net.op("DequantizeLinear", levels, net.const([0.1, 0.2, 0.3, 0.4]), axis=1)
    net.op("MatMul", flat, weight)
    graph = assert_like_onnxruntime(net.save(tmp_path))
    np.testing.assert_allclose(graph.nodes[0].terms[0].grid, [0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_pair_on_the_host_is_noted(tmp_path):
    net = Net(opset=17)
    y = net.op("Sigmoid", net.conv("x", 3, 2), out="mask")
    scale, zero = net.const(1 / 255), net.const(0, np.uint8)
    net.op("DequantizeLinear", net.op("QuantizeLinear", y, scale, zero), scale, zero)
    graph = import_onnx(net.save(tmp_path))
    assert [o.kind for o in graph.host_ops] == ["sigmoid"]
    assert graph.hints.notes == (("mask", "computed on the host in float"),)


def test_float_weights_before_a_pair_and_type_from_the_default(tmp_path):
    net = Net(opset=17)
    scale = net.const(0.01)
    rounded = net.op("QuantizeLinear", net.const(net.rng.normal(size=(4, 3, 1, 1))), scale,
                     net.const(0, np.int8))  # fmt: skip
    weight = net.op("DequantizeLinear", rounded, scale, net.const(0, np.int8))
    y = net.op("Conv", "x", weight)
    net.op("DequantizeLinear", net.op("QuantizeLinear", y, scale), scale)  # uint8, zero point 0
    path = net.save(tmp_path)
    graph = optimise(import_onnx(path))
    assert graph.hints.tensors == {graph.outputs[0]: TensorHint(pytest.approx(0.01), 0, False)}
    image = pictures(1)[0][:, :9, :11]
    got = run_float(graph, image)[graph.outputs[0]]
    assert np.abs(got - run_reference(path, image)[0][0]).max() < 0.0051


def test_float_model_has_no_hints(tmp_path):
    assert import_onnx(chain(tmp_path)).hints is None


def _pair(net: Net, x: str, scale, zero, out_scale=None, out_zero=None, **attrs) -> str:
    out_scale = scale if out_scale is None else out_scale
    out_zero = zero if out_zero is None else out_zero
    q = net.op("QuantizeLinear", x, scale, zero, name="the_q", **attrs)
    return net.op("DequantizeLinear", q, out_scale, out_zero, name="the_dq", **attrs)


def _variable_scale(net):
    mean = net.op("GlobalAveragePool", "x")
    _pair(net, net.conv("x", 3, 2), mean, net.const(0, np.int8))


def _map_per_channel(net):
    zeros = net.const([0, 0], np.int8)
    _pair(net, net.conv("x", 3, 2), net.const([0.1, 0.2]), zeros, axis=1)


def _other_scale(net):
    zero = net.const(0, np.int8)
    _pair(net, net.conv("x", 3, 2), net.const(0.1), zero, out_scale=net.const(0.2))


def _other_type(net):
    _pair(net, net.conv("x", 3, 2), net.const(0.1), net.const(0, np.int8),
          out_zero=net.const(0, np.uint8))  # fmt: skip


def _no_dequantise(net):
    net.op("Sigmoid", net.op("QuantizeLinear", net.conv("x", 3, 2), net.const(0.1),
                          net.const(0, np.int8)), name="after")  # fmt: skip


def _only_dequantise(net):
    net.op("DequantizeLinear", net.conv("x", 3, 2), net.const(0.1), name="the_dq")


def _scale(value):
    def build(net):
        _pair(net, net.conv("x", 3, 2), net.const(value), net.const(0, np.int8))

    return build


def _scale_of_text(net):
    scale = net.const("0.1", np.str_)
    _pair(net, net.conv("x", 3, 2), scale, net.const(0, np.int8))


def _float_zero(net):
    _pair(net, net.conv("x", 3, 2), net.const(0.1), net.const(0.0))


def _zero_size(net):
    _pair(net, net.conv("x", 3, 2), net.const(0.1), net.const([0, 0], np.int8))


def _weight(axis, scales, zeros=None, dtype=np.int8, zero_dtype=None):
    def build(net):
        levels = net.const(net.rng.integers(0, 100, (4, 3, 1, 1)), dtype)
        inputs = [levels, net.const(scales)]
        if zeros is not None:
            inputs.append(net.const(zeros, zero_dtype or dtype))
        net.op("Conv", "x", net.op("DequantizeLinear", *inputs, axis=axis, name="the_dq"),
               name="the_conv")  # fmt: skip

    return build


MALFORMED = [
    (_variable_scale, "the_q", "is not a constant"),
    (_map_per_channel, "the_q", "one scale per channel"),
    (_other_scale, "the_dq", "another scale, zero point or type"),
    (_other_type, "the_dq", "another scale, zero point or type"),
    (_no_dequantise, "after", "reads a quantised map"),
    (_only_dequantise, "the_dq", "not quantised"),
    (_scale(0.0), "the_q", "not positive and finite"),
    (_scale(math.nan), "the_q", "not positive and finite"),
    (_scale_of_text, "the_q", "has the type object"),
    (_float_zero, "the_q", "has the type float32"),
    (_zero_size, "the_q", "2 values, its scale 1"),
    (_weight(1, [0.1, 0.2, 0.3]), "the_conv", "quantised along axis 1"),
    (_weight(0, [0.1, 0.2, 0.3]), "the_dq", "3 scales along axis 0"),
    (_weight(7, [0.1, 0.2, 0.3]), "the_dq", "3 scales along axis 7"),
    (_weight(0, 0.1, 0, np.int8, np.uint8), "the_dq", "zero point is uint8, its input int8"),
    (_weight(0, 0.1, 5, np.int32), "the_dq", "int32 input with a zero point"),
]


@pytest.mark.parametrize(("build", "node", "reason"), MALFORMED)
def test_malformed_pairs_are_refused_by_name(tmp_path, build, node, reason):
    net = Net(opset=18)
    build(net)
    path = net.save(tmp_path)
    with pytest.raises(UnsupportedModel, match=f"'{node}': .*{reason}"):
        import_onnx(path)
    assert [p.node for p in check_onnx(path)] == [node]


def test_quantised_output_has_the_levels_of_the_model(tmp_path):
    net = Net(opset=17)
    y = net.op("QuantizeLinear", net.conv("x", 3, 2), net.const(0.1), net.const(7, np.int8))
    path = net.save(tmp_path, types={y: TensorProto.INT8})
    graph = import_onnx(path)
    image = np.random.default_rng(0).normal(size=(3, 9, 11)).astype(np.float32)
    got = run_host_ops(graph, run_float(graph, image))[y]
    (want,) = run_reference(path, image)
    assert (got == want).mean() > 0.99  # float rounding meets ties
    assert np.abs(got - want).max() <= 1


def test_microsoft_domain_pairs_are_read(tmp_path):
    net = Net(opset=17)
    scale, zero = net.const(0.05), net.const(0, np.int8)
    _pair(net, net.conv("x", 3, 2), scale, zero)
    model = net.model(f"n{len(net.nodes) - 1}")
    for node in model.graph.node:
        if node.op_type.endswith("Linear"):
            node.domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "net.onnx")
    graph = import_onnx(tmp_path / "net.onnx")
    assert list(graph.hints.tensors.values()) == [TensorHint(pytest.approx(0.05), 0, True)]
