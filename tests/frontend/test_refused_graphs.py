"""Graphs that cannot be imported: all their faults at once; inputs, outputs, attributes."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fpga_gen.frontend.importer import check_onnx
from fpga_gen.frontend.problems import Problem
from tests.frontend.onnx_models import Net, assert_like_onnxruntime, refusal


def test_all_problems_are_listed(tmp_path):
    net = Net()
    y = net.op("Conv", "x", net.random(4, 1, 3, 3), group=2, name="first")
    y = net.op("Cos", net.conv(y, 3, 4), name="second")
    y = net.op("Mystery", y, domain="acme", name="third")
    y = net.op("Cosh", y, name="fourth")  # behind an operator whose result has no shape
    y = net.op("Add", y, net.conv("x", 3, 4))
    net.op("Conv", "x", net.random(4, 1, 1, 1), group=2, name="")  # without a name
    path = net.save(tmp_path, y, "n7")
    problems = check_onnx(path)
    assert [(p.node, p.op) for p in problems] == [
        ("first", "Conv"), ("second", "Cos"), ("third", "Mystery"), ("fourth", "Cosh"),
        ("n7", "Conv"),
    ]  # fmt: skip
    assert all(isinstance(p, Problem) and p.reason and p.remedy for p in problems)
    message = refusal(path)
    assert message.startswith(f"{path}: 5 nodes cannot be imported")
    assert len(message.splitlines()) == 6


def test_good_model_has_no_problems(tmp_path):
    net = Net()
    net.conv("x", 3, 4)
    assert check_onnx(net.save(tmp_path)) == []


def test_inputs(tmp_path):
    net = Net()
    net.op("Add", "x", "y")
    model = net.model("n0")
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 1, 1)))
    onnx.save(model, tmp_path / "two.onnx")
    assert "must have one height and width, it has 'x' (1, 3, 9, 11), 'y'" in refusal(
        tmp_path / "two.onnx"
    )
    assert "--input-shape is for one input" in refusal(
        tmp_path / "two.onnx", input_shape=(3, 9, 11)
    )
    for shape, pattern in (
        ((2, 3, 9, 11), "batch size 2"),
        ((1, 3, 9, 4, 2), "5 dimensions"),
        ((1, 3, "h", "w"), "input 'x' leaves its size open; give --input-shape"),
        ((1, 3, 0, 5), "--input-shape"),
    ):
        net = Net(shape)
        net.op("Relu", "x")
        assert pattern in refusal(net.save(tmp_path))
    model = Net()
    model.op("Relu", "x")
    proto = model.model("n0")
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(proto, tmp_path / "bytes.onnx")
    assert "has type INT64" in refusal(tmp_path / "bytes.onnx")


def test_open_sizes(tmp_path):
    net = Net(("n", 3, "h", "w"))
    net.op("Resize", net.conv("x", 3, 5), "", net.const([1, 1, 2, 2]), mode="linear")
    path = net.save(tmp_path)
    for shape in ((3, 6, 7), (1, 3, 6, 7)):
        graph = assert_like_onnxruntime(path, input_shape=shape)
        assert graph.host_input.model_shape == (3, 6, 7)
    assert "(1, '?', '?')" not in refusal(path)
    assert "does not fit input 'x'" in refusal(path, input_shape=(4, 6, 7))
    assert "does not fit" in refusal(path, input_shape=(6, 7))
    assert "does not fit" in refusal(path, input_shape=(3, 0, 7))
    net = Net(("n", 3, 6, 7))  # only the batch is open
    net.conv("x", 3, 5)
    assert_like_onnxruntime(net.save(tmp_path))


def test_an_output_listed_twice_is_refused(tmp_path):
    net = Net()
    y = net.conv("x", 3, 4)
    for foreign in (False, True):
        if foreign:
            net.op("Magic", y, domain="acme")
        assert "output 'n0' is listed twice" in refusal(net.save(tmp_path, y, y))


def test_malformed_nodes_beside_foreign_ones(tmp_path):
    """A foreign operator keeps ONNX's checker of whole models away, not that of nodes."""
    foreign = Net()
    foreign.op("Magic", "x", domain="acme")
    good = foreign.model("n0")

    def broken(**changes) -> str:
        model = onnx.ModelProto.FromString(good.SerializeToString())
        node = helper.make_node(**{"op_type": "MaxPool", "inputs": ["x"], "outputs": ["y"],
                                   "kernel_shape": [2, 2], **changes})  # fmt: skip
        model.graph.node.append(node)
        model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
        path = tmp_path / "net.onnx"
        path.write_bytes(model.SerializeToString())
        return refusal(path)

    invalid = "not a valid ONNX model"
    assert "Magic" in broken()
    assert invalid in broken(inputs=[])
    assert invalid in broken(inputs=["x"] * 9)
    assert invalid in broken(kernel_shape="text")
    assert invalid in broken(strange=1)


def test_attributes_of_odd_types(tmp_path):
    net = Net()
    net.op("Relu", "x")
    net.op("MaxPool", "n0", kernel_shape=[2, 2])
    model, path = net.model("n1"), tmp_path / "net.onnx"
    attribute = model.graph.node[1].attribute[0]
    attribute.ref_attr_name = "outer"
    path.write_bytes(model.SerializeToString())
    assert "'kernel_shape' of MaxPool 'maxpool_1' refers to that of a function" in refusal(path)
    attribute.ref_attr_name = ""
    attribute.type = onnx.AttributeProto.SPARSE_TENSOR
    attribute.sparse_tensor.dims.append(3)
    path.write_bytes(model.SerializeToString())
    assert "not a valid ONNX model" in refusal(path)


def test_local_functions_are_inlined(tmp_path):
    net = Net()
    net.op("Twice", "x", domain="acme")
    model = net.model("n0")
    body = [helper.make_node("Add", ["a", "a"], ["b"]), helper.make_node("Relu", ["b"], ["c"])]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("acme", "Twice", ["a"], ["c"], body, opsets))
    model.opset_import.append(helper.make_opsetid("acme", 1))
    onnx.save(model, tmp_path / "net.onnx")
    assert_like_onnxruntime(tmp_path / "net.onnx")


def test_hostile_constant(tmp_path):
    net = Net()
    big = net.op("ConstantOfShape", net.ints(1 << 20, 1 << 20), name="big")
    net.op("Add", "x", big)
    assert "makes a constant of" in refusal(net.save(tmp_path))


def test_half_precision_weights(tmp_path):
    net = Net()
    weight = net.rng.normal(size=(4, 3, 1, 1)).astype(np.float16)
    net.constants.append(numpy_helper.from_array(weight, "w"))
    net.op("Conv", "x", net.op("Cast", "w", to=TensorProto.FLOAT))
    (node,) = assert_like_onnxruntime(net.save(tmp_path)).nodes
    np.testing.assert_array_equal(node.terms[0].weight, weight.astype(np.float32))
