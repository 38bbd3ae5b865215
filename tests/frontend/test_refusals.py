"""Every model that cannot be imported is refused by name, with all its faults at once."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import check_onnx, import_onnx
from fpga_gen.frontend.problems import Problem
from tests.frontend.onnx_models import Net, assert_like_onnxruntime


def _refusal(path, **kwargs) -> str:
    with pytest.raises(UnsupportedModel) as error:
        import_onnx(path, **kwargs)
    return str(error.value)


def _one_op(op: str, *inputs, net: Net | None = None, **attributes):
    net = net or Net()
    net.op(op, *(inputs or ("x",)), name="culprit", **attributes)
    return net


def _conv(**kwargs) -> Net:
    net = Net()
    net.conv("x", 3, 4, **kwargs)
    net.nodes[-1].name = "culprit"
    return net


def _before_conv(op: str, *inputs, **attributes) -> Net:
    """An operator inside the network: a convolution depends on it."""
    net = Net()
    net.conv(net.op(op, *inputs, name="culprit", **attributes), 3, 2)
    return net


def _with(build) -> Net:
    net = Net()
    build(net)
    return net


REFUSED = {
    "unknown operator": (lambda: _one_op("Cosh"), "Cosh 'culprit'.*not supported.*cut the model"),
    "host operator": (
        lambda: _before_conv("LogSoftmax", "x"),
        "LogSoftmax 'culprit'.*middle of the network.*only a final LogSoftmax",
    ),
    "custom domain": (
        lambda: _one_op("Magic", domain="acme"), "operator Magic of domain 'acme' is not supported"
    ),
    "groups of inputs": (
        lambda: _with(lambda n: n.op("Conv", "x", n.random(4, 1, 3, 3), group=2, name="culprit")),
        r"'culprit'.*group = 2, which does not divide 3 input channels and 4 filters",
    ),
    "groups of filters": (
        lambda: _with(lambda n: n.op("Conv", "x", n.random(4, 1, 3, 3), group=3)),
        r"group = 3, which does not divide 3 input channels and 4 filters",
    ),
    "group weights": (
        lambda: _with(lambda n: n.op("Conv", n.conv("x", 3, 4), n.random(6, 1, 1, 1), group=2)),
        "takes 1 channels in each of 2 groups, its input has 4",
    ),
    "no groups": (
        lambda: _with(lambda n: n.op("Conv", "x", n.random(4, 3, 1, 1), group=0)), "group = 0"
    ),
    "attribute of another type": (  # ONNX checks those of its own domain only
        lambda: _with(
            lambda n: n.op(
                "DequantizeLinear", n.const(np.ones((4, 3)), np.int8), n.const(np.ones(4)),
                n.const(np.zeros(4), np.int8), domain="com.microsoft", axis="0", name="culprit",
            )
        ),
        "'culprit'.*its attribute axis is no INT",
    ),
    "negative pads": (lambda: _conv(pads=[-1, 0, 0, 0]), "negative padding"),
    "large kernel": (lambda: _conv(k=13, pads=[0, 0, 0, 0]), "window is larger"),
    "weight channels": (
        lambda: _with(lambda n: n.conv("x", 4, 4)), "takes 4 channels, its input has 3"
    ),
    "weight is computed": (
        lambda: _with(lambda n: n.op("Conv", "x", n.conv("x", 3, 4))), "weight is not a constant"
    ),
    "empty weight": (
        lambda: _with(lambda n: n.op("Conv", "x", n.const(np.zeros((0, 3, 1, 1)), name="w"))),
        "weight 'w' is empty",
    ),
    "nan": (
        lambda: _with(lambda n: n.op("Conv", "x", n.const(np.full((1, 3, 1, 1), np.nan)))),
        "holds NaN",
    ),
    "infinity": (
        lambda: _with(lambda n: n.op("Mul", "x", n.const([np.inf]))), "holds NaN or infinite"
    ),
    "nan bound": (
        lambda: _with(lambda n: n.op("Clip", "x", n.const(np.nan))), "bounds nan"
    ),
    "crossed bounds": (
        lambda: _with(lambda n: n.op("Clip", "x", n.const(1.0), n.const(0.0))), "bounds 1.0, 0.0"
    ),
    "negative variance": (
        lambda: _with(lambda n: n.op(
            "BatchNormalization", "x", *(n.const([1, 1, -1]) for _ in range(4)))),
        "negative variance",
    ),
    "division by zero": (lambda: _with(lambda n: n.op("Div", "x", n.const([0.0]))), "by zero"),
    "spatial constant": (
        lambda: _with(lambda n: n.conv(n.op("Add", "x", n.random(1, 1, 9, 11)), 3, 2)),
        "varies over height",
    ),
    "growing constant": (
        lambda: _with(lambda n: n.conv(n.op("Add", n.conv("x", 3, 1), n.random(1, 5, 1, 1)), 5, 2)),
        "does not fit",
    ),
    "max of maps": (lambda: _before_conv("Max", "x", "x"), "only a bound by one scalar"),
    "concat over height": (
        lambda: _with(lambda n: n.conv(n.op("Concat", "x", n.conv("x", 3, 3), axis=2), 3, 2)),
        "reshaped or reordered to 1x3x18x11",
    ),
    "reshaped map": (
        lambda: _with(lambda n: n.conv(n.op("Reshape", "x", n.ints(1, 9, 11, 3)), 9, 2)),
        "reshaped or reordered to 1x9x11x3",
    ),
    "matmul across pixels": (
        lambda: _with(lambda n: n.conv(n.op("MatMul", "x", n.random(11, 11)), 3, 2)),
        "map of shape 1x3x9x11",
    ),
    "attention": (
        lambda: _with(lambda n: n.conv(n.op("MatMul", "x", n.op(
            "Transpose", "x", perm=[0, 1, 3, 2])), 3, 2)),
        "no attention",
    ),
    "pool indices": (
        lambda: _with(lambda n: (
            n.nodes.append(helper.make_node("MaxPool", ["x"], ["n0", "i"], kernel_shape=[2, 2])),
            n.op("Cast", "i", to=TensorProto.FLOAT))),
        "Indices",
    ),
    "dropout mask": (
        lambda: _with(lambda n: (
            n.nodes.append(helper.make_node("Dropout", ["x"], ["n0", "mask"])),
            n.op("Cast", "mask", to=TensorProto.FLOAT))),
        "mask output is used",
    ),
    "rows of a map": (
        lambda: _with(lambda n: n.op("Gemm", n.op("Flatten", "x", axis=2), n.random(99, 4))),
        "Gemm 'gemm_1': reads a map of shape 3x99",
    ),
    "constant that grows": (
        lambda: _with(lambda n: n.op("Add", "x", n.op(
            "Expand", n.const([[1.0]]), n.ints(1 << 14, 1 << 14)))),
        "makes a constant of 268435456 elements",
    ),
    "pad in pool": (
        lambda: _with(lambda n: n.op(
            "MaxPool", n.op("Pad", "x", n.ints(0, 0, 1, 1, 0, 0, 1, 1)), kernel_shape=[3, 3])),
        "zero-padded map that can be negative",
    ),
    "reflection": (
        lambda: _with(lambda n: n.conv(
            n.op("Pad", "x", n.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"), 3, 2)),
        "mode 'reflect'",
    ),
    "padding value": (
        lambda: _with(lambda n: n.conv(
            n.op("Pad", "x", n.ints(0, 0, 1, 1, 0, 0, 1, 1), n.const(2.0)), 3, 2)),
        "pads with 2.0",
    ),
    "cubic": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([1, 1, 2, 2]), mode="cubic")),
        "mode 'cubic'",
    ),
    "antialias": (
        lambda: _with(lambda n: n.op(
            "Resize", "x", "", n.const([1, 1, 0.5, 0.5]), mode="linear", antialias=1)),
        "antialias",
    ),
    "crop and resize": (
        lambda: _with(lambda n: n.op(
            "Resize", "x", "", n.const([1, 1, 2, 2]),
            coordinate_transformation_mode="tf_crop_and_resize")),
        "tf_crop_and_resize",
    ),
    "channel resize": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([1, 2, 2, 2]))), "channel axis"
    ),
    "ceil mode": (
        lambda: _one_op("MaxPool", kernel_shape=[2, 2], ceil_mode=2), "has ceil_mode = 2"
    ),
    "keepdims": (lambda: _one_op("ArgMax", axis=1, keepdims=2), "has keepdims = 2"),
    "keepdims of a mean": (
        lambda: _with(lambda n: n.op("ReduceMean", "x", n.ints(2, 3), keepdims=-1)),
        "has keepdims = -1",
    ),
    "class axis": (lambda: _one_op("ArgMax", axis=4), "has axis 4 of 4"),
    "softmax over nothing": (lambda: _one_op("Softmax", axis=-5), "has axis -5 of 4"),
    "axis of a mean": (
        lambda: _with(lambda n: n.op("ReduceMean", "x", n.ints(2, 7))), r"has axis \[2, 7\] of 4"
    ),
    "axis twice": (
        lambda: _with(lambda n: n.op("ReduceMean", "x", n.ints(2, -2))),
        r"has axis \[2, -2\] of 4",
    ),
    "axis of a squeeze": (
        lambda: _with(lambda n: n.op("Squeeze", "x", n.ints(4))), "has axis 4 of 4"
    ),
    "axis of an unsqueeze": (
        lambda: _with(lambda n: n.op("Unsqueeze", "x", n.ints(5))), "has axis 5 of 5"
    ),
    "axis of a flatten": (lambda: _one_op("Flatten", axis=5), "has axis 5 of 4"),
    "axis of a concat": (lambda: _one_op("Concat", "x", "x", axis=9), "has axis 9 of 4"),
    "axis of a padding": (
        lambda: _with(lambda n: n.conv(
            n.op("Pad", "x", n.ints(1, 1), "", n.ints(6)), 3, 2)),
        "has axis 6 of 4",
    ),
    "axes of a resize": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([2, 2]), axes=[2, 8])),
        r"has axis \[2, 8\] of 4",
    ),
    "order of axes": (
        lambda: _one_op("Transpose", "x", perm=[0, 1, 2, 9]), r"has the order \[0, 1, 2, 9\]"
    ),
    "scale beyond float": (
        lambda: _with(lambda n: n.op("Resize", "x", "", n.const([1, 1, 3e38, 3e38]))),
        "has the scale 3",
    ),
    "maximum of a picture": (
        lambda: _with(lambda n: n.op("GlobalMaxPool", n.op(
            "Resize", "x", "", "", n.ints(1, 3, 1000, 1000)))),
        "maximum of 1000 x 1000 values",
    ),
    "pool padding": (
        lambda: _one_op("MaxPool", kernel_shape=[2, 2], pads=[2, 0, 0, 0]),
        "a window lies wholly in the padding",
    ),
    "huge padding": (lambda: _conv(pads=[1 << 20, 0, 0, 0]), "larger than 65536"),
    "huge map": (
        lambda: _with(lambda n: n.op("Resize", "x", "", "", n.ints(1, 3, 1 << 30, 1 << 30))),
        "too large",
    ),
    "large map": (
        lambda: _with(lambda n: n.op("Resize", "x", "", "", n.ints(1, 3, 1 << 14, 1 << 14))),
        "too large",
    ),
    "average of ceil and padding": (
        lambda: _one_op("AveragePool", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1,
                        pads=[1, 1, 1, 1], count_include_pad=1),
        "rounds its size up",
    ),
    "training": (
        lambda: _with(lambda n: n.op("Dropout", "x", "", n.const(True, bool))), "training mode"
    ),
    "constant output": (
        lambda: _with(lambda n: n.op("Neg", n.random(3))), "does not depend on the input"
    ),
    "cast": (lambda: _one_op("Cast", to=TensorProto.INT8), "casts to INT8"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    build, pattern = REFUSED[case]
    net = build()
    path = net.save(tmp_path)
    (problem,) = check_onnx(path)
    assert problem.remedy
    with pytest.raises(UnsupportedModel, match=pattern):
        import_onnx(path)


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
    message = _refusal(path)
    assert message.startswith(f"{path}: 5 nodes cannot be imported")
    assert len(message.splitlines()) == 6


def test_good_model_has_no_problems(tmp_path):
    net = Net()
    net.conv("x", 3, 4)
    assert check_onnx(net.save(tmp_path)) == []


def test_file_faults(tmp_path):
    net = Net()
    net.conv("x", 3, 64, k=5)
    good = net.save(tmp_path).read_bytes()
    assert "no such file" in _refusal(tmp_path / "missing.onnx")
    assert "not a file" in _refusal(tmp_path)
    path = tmp_path / "bad.onnx"
    for content in (b"", b"hello, this is text\n" * 9, good[: len(good) // 2], good[:-3]):
        path.write_bytes(content)
        message = _refusal(path)
        assert str(path) in message
        assert "\n" not in message
    with pytest.raises(UnsupportedModel):
        check_onnx(path)
    model = net.model("n0")
    model.graph.ClearField("output")
    path.write_bytes(model.SerializeToString())
    assert "holds no ONNX graph" in _refusal(path)
    model = net.model("n0")
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    path.write_bytes(model.SerializeToString())
    assert "\n" not in _refusal(path)
    model.graph.node[0].domain = "acme"  # a foreign operator keeps ONNX's own checker away
    path.write_bytes(model.SerializeToString())
    assert "the data of tensor 'c0' do not fit its shape" in _refusal(path)


def test_damaged_files_never_escape_as_other_errors(tmp_path):
    net = Net(opset=13)
    y = net.op("Relu", net.batch_norm(net.conv("x", 3, 4, strides=[2, 2]), 4))
    y = net.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    size = net.op("Concat", net.op("Slice", net.op("Shape", y), net.ints(0), net.ints(2),
                                   net.ints(0)), net.ints(5, 6), axis=0)  # fmt: skip
    y = net.op("Resize", y, "", "", size, mode="linear")
    y = net.op("Flatten", net.op("ReduceMean", y, axes=[2, 3]))
    net.op("Softmax", net.op("Gemm", y, net.random(4, 3), net.random(3)), axis=1)
    path = net.save(tmp_path)
    import_onnx(path)
    good, outcomes = path.read_bytes(), set()
    for _ in range(300):
        damaged = bytearray(good)
        damaged[int(net.rng.integers(len(good)))] = int(net.rng.integers(256))
        path.write_bytes(damaged)
        try:
            import_onnx(path)
            outcomes.add("imported")
        except UnsupportedModel:
            outcomes.add("refused")
    assert outcomes == {"imported", "refused"}


@pytest.mark.parametrize("error", [onnx.checker.ValidationError(""), ValueError()])
def test_complaint_of_the_checker_without_a_message(error, tmp_path, monkeypatch):
    def complain(model):
        raise error

    net = Net()
    net.conv("x", 3, 4)
    path = net.save(tmp_path)
    monkeypatch.setattr(onnx.checker, "check_model", complain)
    assert _refusal(path).endswith(
        "net.onnx: not a valid ONNX model: a name in it is damaged; export again"
    )


def test_inputs(tmp_path):
    net = Net()
    net.op("Add", "x", "y")
    model = net.model("n0")
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 1, 1)))
    onnx.save(model, tmp_path / "two.onnx")
    assert "must have one height and width, it has 'x' (1, 3, 9, 11), 'y'" in _refusal(
        tmp_path / "two.onnx"
    )
    assert "--input-shape is for one input" in _refusal(
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
        assert pattern in _refusal(net.save(tmp_path))
    model = Net()
    model.op("Relu", "x")
    proto = model.model("n0")
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(proto, tmp_path / "bytes.onnx")
    assert "has type INT64" in _refusal(tmp_path / "bytes.onnx")


def test_open_sizes(tmp_path):
    net = Net(("n", 3, "h", "w"))
    net.op("Resize", net.conv("x", 3, 5), "", net.const([1, 1, 2, 2]), mode="linear")
    path = net.save(tmp_path)
    for shape in ((3, 6, 7), (1, 3, 6, 7)):
        graph = assert_like_onnxruntime(path, input_shape=shape)
        assert graph.host_input.model_shape == (3, 6, 7)
    assert "(1, '?', '?')" not in _refusal(path)
    assert "does not fit input 'x'" in _refusal(path, input_shape=(4, 6, 7))
    assert "does not fit" in _refusal(path, input_shape=(6, 7))
    assert "does not fit" in _refusal(path, input_shape=(3, 0, 7))
    net = Net(("n", 3, 6, 7))  # only the batch is open
    net.conv("x", 3, 5)
    assert_like_onnxruntime(net.save(tmp_path))


def test_an_output_listed_twice_is_refused(tmp_path):
    net = Net()
    y = net.conv("x", 3, 4)
    for foreign in (False, True):
        if foreign:
            net.op("Magic", y, domain="acme")
        assert "output 'n0' is listed twice" in _refusal(net.save(tmp_path, y, y))


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
        return _refusal(path)

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
    assert "'kernel_shape' of MaxPool 'maxpool_1' refers to that of a function" in _refusal(path)
    attribute.ref_attr_name = ""
    attribute.type = onnx.AttributeProto.SPARSE_TENSOR
    attribute.sparse_tensor.dims.append(3)
    path.write_bytes(model.SerializeToString())
    assert "not a valid ONNX model" in _refusal(path)


def test_opsets(tmp_path):
    net = Net(opset=1)
    net.op("Relu", "x")
    assert "opset 1 is not supported; export with opset 7 to" in _refusal(net.save(tmp_path))
    model = net.model("n0")
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    assert "opset 99" in _refusal(tmp_path / "new.onnx")


def _external(tmp_path, location: str, size: int = 48, **info):
    """A model whose only weight lies in an external file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **info}.items():
        tensor.external_data.add(key=key, value=str(value))
    net = Net()
    net.op("Conv", "x", "w")
    model = net.model("n0")
    model.graph.initializer.append(tensor)
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path):
    path = _external(tmp_path, "sub/weights.bin", offset=16, length=48)
    (path.parent / "sub").mkdir()
    values = np.random.default_rng(0).normal(size=16).astype(np.float32)
    (path.parent / "sub" / "weights.bin").write_bytes(values.tobytes())
    (node,) = assert_like_onnxruntime(path).nodes
    np.testing.assert_array_equal(node.terms[0].weight.reshape(-1), values[4:])


def test_external_data_faults(tmp_path):
    outside = tmp_path / "secret.bin"
    outside.write_bytes(bytes(4096))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "short.bin").write_bytes(bytes(47))
    (folder / "full.bin").write_bytes(bytes(48))
    away = "points outside the model's folder"
    for location, info, pattern in (
        ("../secret.bin", {}, away),
        ("full/../../secret.bin", {}, away),
        (str(outside), {}, away),
        ("link.bin", {}, away),
        ("linked/secret.bin", {}, away),
        ("", {}, away),
        ("n" * 300, {}, "no valid path"),
        ("absent.bin", {}, "'absent.bin' of tensor 'w' is missing"),
        ("short.bin", {}, "too short"),
        ("full.bin", {"offset": 8}, "too short"),
        ("full.bin", {"offset": -8}, "too short"),
        ("full.bin", {"length": 12}, "wrong size"),
        ("full.bin", {"offset": "many"}, "malformed"),
    ):
        message = _refusal(_external(tmp_path, location, **info))
        assert pattern in message, location
        assert "'w'" in message
        assert "\n" not in message


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
    assert "makes a constant of" in _refusal(net.save(tmp_path))


def test_half_precision_weights(tmp_path):
    net = Net()
    weight = net.rng.normal(size=(4, 3, 1, 1)).astype(np.float16)
    net.constants.append(numpy_helper.from_array(weight, "w"))
    net.op("Conv", "x", net.op("Cast", "w", to=TensorProto.FLOAT))
    (node,) = assert_like_onnxruntime(net.save(tmp_path)).nodes
    np.testing.assert_array_equal(node.terms[0].weight, weight.astype(np.float32))
