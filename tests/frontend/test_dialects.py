"""Dialects of quantised models: operator-oriented, QCDQ, QONNX, AMD's domains, four bits."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import Conv, TensorHint
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen_host.host_ops import run_host_ops
from tests.frontend.onnx_models import Net, assert_like_onnxruntime, run_reference
from tests.frontend.qdq_models import _Reader, branches, chain, pictures, quantised


def _as_operators(path):
    out = path.with_name("operators.onnx")
    quantize_static(
        path, out, _Reader(pictures(8)), quant_format=QuantFormat.QOperator, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True},
    )  # fmt: skip
    return out


@pytest.mark.parametrize("network", [chain, branches])
def test_operator_format_is_the_same_network_as_qdq(network, tmp_path):
    """Scales, weights' steps and values as from the QDQ file of the same quantiser."""
    path = network(tmp_path)
    operators = import_onnx(_as_operators(path))
    pairs = import_onnx(quantised(path, signed=False, symmetric=True))
    assert operators.hints is not None
    assert pairs.hints is not None

    def steps(graph) -> list[float]:
        return sorted(round(h.scale, 7) for h in graph.hints.tensors.values())

    assert set(steps(operators)) == set(steps(pairs))
    grids = [[t.grid is not None for t in n.terms] for n in operators.nodes if isinstance(n, Conv)]
    assert all(all(g) for g in grids)
    image = pictures(1, seed=3)[0]
    (want,) = run_reference(path, image)
    got = next(iter(run_host_ops(operators, run_float(operators, image)).values()))
    spread = np.abs(want).max()
    assert np.abs(got - want).max() < 0.05 * spread


def _levels(net: Net, x: str, scale: float, zero: int = 0, dtype=np.int8) -> str:
    return net.op("QuantizeLinear", x, net.const(scale), net.const(zero, dtype))


def test_levels_are_moved_pooled_and_clipped(tmp_path):
    """Between QuantizeLinear and DequantizeLinear, as converters from integer formats write it."""
    net = Net((1, 4, 8, 6), opset=17)
    scale, zero = net.const(0.05), net.const(0, np.int8)
    q = net.op("QuantizeLinear", "x", scale, zero)
    q = net.op("MaxPool", q, kernel_shape=[2, 2], strides=[2, 2])
    q = net.op("Clip", q, net.const(-20, np.int8), net.const(30, np.int8))
    q = net.op("Transpose", q, perm=[0, 2, 3, 1])
    q = net.op("Transpose", q, perm=[0, 3, 1, 2])
    y = net.op("DequantizeLinear", q, scale, zero)
    net.conv(y, 4, 5)
    path = net.save(tmp_path)
    graph = import_onnx(path)
    image = np.random.default_rng(2).normal(size=(4, 8, 6)).astype(np.float32)
    rounded = (np.rint(image / 0.05) * 0.05).astype(np.float32)
    got = next(iter(run_host_ops(graph, run_float(graph, rounded)).values()))
    np.testing.assert_allclose(got, run_reference(path, rounded)[0], atol=1e-4)
    bounds = [n.activation for n in optimise(graph).nodes if not hasattr(n, "kernel")]
    assert any((round(a.lo, 4), round(a.hi, 4)) == (-1.0, 1.5) for a in bounds)


def test_quantised_to_dequantised_with_clip_is_four_bit(tmp_path):
    """QCDQ of Brevitas: Clip between the pair narrows eight bits to four."""
    net = Net(opset=17)
    levels = net.const(net.rng.integers(-7, 8, (4, 3, 1, 1)), np.int8)
    weight = net.op("Clip", levels, net.const(-7, np.int8), net.const(7, np.int8))
    steps, zeros = net.const(np.full(4, 0.125)), net.const(np.zeros(4), np.int8)
    weight = net.op("DequantizeLinear", weight, steps, zeros, axis=0)
    q = _levels(net, net.op("Conv", "x", weight), 0.25, 0, np.uint8)
    q = net.op("Clip", q, net.const(0, np.uint8), net.const(15, np.uint8))
    net.conv(net.op("DequantizeLinear", q, net.const(0.25), net.const(0, np.uint8)), 4, 2)
    graph = optimise(import_onnx(net.save(tmp_path)))
    first = graph.nodes[0]
    assert (first.activation.lo, first.activation.hi) == (0.0, 15 * 0.25)
    assert np.allclose(first.terms[0].grid, 0.125)


def _qonnx(net: Net, x: str, scale, bits: int, op: str = "Quant", **attributes) -> str:
    inputs = [x, net.const(scale), net.const(0.0), net.const(float(bits))]
    inputs = inputs[:2] if op == "BipolarQuant" else inputs
    defaults = {} if op != "Quant" else {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    return net.op(op, *inputs, domain="qonnx.custom_op.general", **{**defaults, **attributes})


def _save_qonnx(net: Net, folder):
    model = net.model(f"n{len(net.nodes) - 1}")
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def test_qonnx(tmp_path):
    net = Net(opset=17)
    raw = net.rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    weight = _qonnx(net, net.const(raw), np.full((4, 1, 1, 1), 0.25), 4, narrow=1)
    y = net.op("Relu", net.op("Conv", _qonnx(net, "x", 0.0625, 8), weight))
    y = _qonnx(net, y, 0.5, 4, signed=0)
    net.conv(y, 4, 2)
    graph = optimise(import_onnx(_save_qonnx(net, tmp_path)))
    first = graph.nodes[0]
    assert isinstance(first, Conv)
    want = np.clip(np.rint(raw.astype(np.float64) / 0.25), -7, 7) * 0.25
    np.testing.assert_array_equal(first.terms[0].weight, want.astype(np.float32))
    np.testing.assert_array_equal(first.terms[0].grid, np.full(4, 0.25))
    assert (first.activation.lo, first.activation.hi) == (0.0, 7.5)
    assert graph.hints.tensors[first.output] == TensorHint(0.5, 0, signed=False)


@pytest.mark.parametrize(
    ("op", "reason"), [("BipolarQuant", "two levels"), ("Trunc", "low bits"), ("Magic", "known")]
)
def test_relatives_of_quant_are_refused_by_name(op, reason, tmp_path):
    net = Net(opset=17)
    net.conv(_qonnx(net, "x", 1.0, 8, op), 3, 400)
    with pytest.raises(UnsupportedModel, match=rf"{op} is not supported.*{reason}"):
        import_onnx(_save_qonnx(net, tmp_path))


@pytest.mark.parametrize("domain", ["com.amd.quark", "com.vai.quantize"])
def test_amd_domains(domain, tmp_path):
    net = Net(opset=17)
    scale, zero = net.const(0.0625), net.const(0, np.int8)
    prefix = "Extended" if domain == "com.amd.quark" else "Vitis"
    q = net.op(f"{prefix}QuantizeLinear", net.conv("x", 3, 2), scale, zero, domain=domain)
    net.op(f"{prefix}DequantizeLinear", q, scale, zero, domain=domain)
    model = net.model(f"n{len(net.nodes) - 1}")
    model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, tmp_path / "net.onnx")
    graph = import_onnx(tmp_path / "net.onnx")
    assert list(graph.hints.tensors.values()) == [TensorHint(0.0625, 0, signed=True)]


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
def test_four_bit_weights(kind, tmp_path):
    net = Net(opset=21)
    signed = kind == TensorProto.INT4
    levels = net.rng.integers(-8 if signed else 0, 8, (4, 3, 1, 1))
    net.constants.append(helper.make_tensor("w", kind, levels.shape, levels.reshape(-1).tolist()))
    net.constants.append(helper.make_tensor("z", kind, (4,), [0] * 4))
    weight = net.op("DequantizeLinear", "w", net.const(np.full(4, 0.125)), "z", axis=0)
    net.op("Conv", "x", weight)
    model = net.model(f"n{len(net.nodes) - 1}")
    model.ir_version = 10
    onnx.save(model, tmp_path / "net.onnx")
    graph = assert_like_onnxruntime(tmp_path / "net.onnx")
    np.testing.assert_array_equal(graph.nodes[0].terms[0].weight, (levels * 0.125).astype("f4"))
    np.testing.assert_array_equal(graph.nodes[0].terms[0].grid, np.full(4, 0.125))


def test_small_floats_are_refused_by_name(tmp_path):
    net = Net(opset=21)
    net.constants.append(
        helper.make_tensor("w", TensorProto.FLOAT8E4M3FN, (4, 3, 1, 1), [1.0] * 12)
    )
    weight = net.op("DequantizeLinear", "w", net.const(0.125), name="the_dq")
    net.op("Conv", "x", weight)
    model = net.model(f"n{len(net.nodes) - 1}")
    model.ir_version = 10
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UnsupportedModel, match=r"'the_dq': has the type float8_e4m3fn"):
        import_onnx(tmp_path / "net.onnx")


def test_integer_input(tmp_path):
    """A model that takes bytes: its first operator makes real numbers of them."""
    net = Net(opset=17)
    y = net.op("DequantizeLinear", "x", net.const(0.1), net.const(128, np.uint8))
    net.conv(y, 3, 4, pads=[0, 0, 0, 0])
    model = net.model(f"n{len(net.nodes) - 1}")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    graph = optimise(import_onnx(path))
    image = np.random.default_rng(0).integers(0, 256, (3, 9, 11))
    got = next(iter(run_host_ops(graph, run_float(graph, image.astype(np.float32))).values()))
    np.testing.assert_allclose(got, run_reference(path, image.astype(np.uint8))[0], atol=1e-3)


def test_an_old_model_is_converted(tmp_path):
    """Opset 6 broadcasts by an attribute; onnxruntime has no Add of that time any more."""
    results = []
    for opset in (6, 7):
        net = Net((1, 3, 8, 8), opset=opset)
        x, bias = net.conv("x", 3, 4), net.rng.normal(size=4)
        if opset == 6:
            y = net.op("Add", x, net.const(bias), broadcast=1, axis=1)
        else:
            y = net.op("Add", x, net.const(bias.reshape(4, 1, 1)))
        net.op("Relu", y)
        graph = import_onnx(net.save(tmp_path))
        image = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
        results.append(next(iter(run_host_ops(graph, run_float(graph, image)).values())))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 12, 13, 17, 19, 21, 22, 23, 24])
def test_opsets(opset, tmp_path):
    """The forms of attributes and inputs of one small network through the versions."""
    net = Net((1, 3, 8, 8), opset=opset)
    y = net.conv("x", 3, 4)
    if opset < 11:
        y = net.op("Clip", y, min=0.0, max=6.0)
    else:
        y = net.op("Clip", y, net.const(0.0), net.const(6.0))
    if opset < 10:
        y = net.op("Slice", y, axes=[2], starts=[1], ends=[7])
        y = net.op("Upsample", y, net.const([1, 1, 2, 2])) if opset == 9 else y
    else:
        y = net.op("Slice", y, net.ints(1), net.ints(7), net.ints(2))
    y = net.op("GlobalAveragePool", y)
    y = net.op("Squeeze", y, net.ints(2, 3)) if opset >= 13 else net.op("Squeeze", y, axes=[2, 3])
    y = net.op("Dropout", y)
    net.op("Gemm", y, net.random(4, 5), net.random(5))
    model = net.model(f"n{len(net.nodes) - 1}")
    model.ir_version = 11 if opset > 22 else 10 if opset > 20 else 8
    onnx.save(model, tmp_path / "net.onnx")
    assert_like_onnxruntime(tmp_path / "net.onnx")


def test_operator_format_with_an_empty_attribute(tmp_path):
    """It has no type to guess from its values; onnxruntime takes it as one that is not there."""
    model = onnx.load(_as_operators(chain(tmp_path)))
    node = next(n for n in model.graph.node if n.op_type == "QLinearConv")
    kept = [a for a in node.attribute if a.name != "strides"]
    del node.attribute[:]
    node.attribute.extend(kept)
    bare = tmp_path / "bare.onnx"
    onnx.save(model, bare)
    node.attribute.append(onnx.AttributeProto(name="strides", type=onnx.AttributeProto.INTS))
    path = tmp_path / "empty.onnx"
    onnx.save(model, path)
    image = pictures(1, seed=3)[0]
    got, want = (list(run_float(import_onnx(p), image).values()) for p in (path, bare))
    np.testing.assert_array_equal(got[-1], want[-1])
