"""Files that are damaged, foreign or not all there are refused with one clear line."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.importer import check_onnx, import_onnx
from tests.frontend.onnx_models import Net, assert_like_onnxruntime, refusal


def test_file_faults(tmp_path):
    net = Net()
    net.conv("x", 3, 64, k=5)
    good = net.save(tmp_path).read_bytes()
    assert "no such file" in refusal(tmp_path / "missing.onnx")
    assert "not a file" in refusal(tmp_path)
    path = tmp_path / "bad.onnx"
    for content in (b"", b"hello, this is text\n" * 9, good[: len(good) // 2], good[:-3]):
        path.write_bytes(content)
        message = refusal(path)
        assert str(path) in message
        assert "\n" not in message
    with pytest.raises(UnsupportedModel):
        check_onnx(path)
    model = net.model("n0")
    model.graph.ClearField("output")
    path.write_bytes(model.SerializeToString())
    assert "holds no ONNX graph" in refusal(path)
    model = net.model("n0")
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    path.write_bytes(model.SerializeToString())
    assert "\n" not in refusal(path)
    model.graph.node[0].domain = "acme"  # a foreign operator keeps ONNX's own checker away
    path.write_bytes(model.SerializeToString())
    assert "the data of tensor 'c0' do not fit its shape" in refusal(path)


def test_a_name_that_is_no_text(tmp_path):
    net = Net()
    net.op("Relu", net.conv("x", 3, 4), name="relu-of-a-quantiser")
    path = net.save(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"relu-of-a", b"relu\xc4of-a"))
    assert "a name in it is not UTF-8" in refusal(path)


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
    assert refusal(path).endswith(
        "net.onnx: not a valid ONNX model: a name in it is damaged; export again"
    )


def test_opsets(tmp_path):
    net = Net(opset=1)
    net.op("Relu", "x")
    assert "opset 1 is not supported; export with opset 7 to" in refusal(net.save(tmp_path))
    model = net.model("n0")
    model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    assert "opset 99" in refusal(tmp_path / "new.onnx")
    model.opset_import[0].version = 18
    model.opset_import.append(helper.make_opsetid("ai.onnx", 7))  # the same set by another name
    onnx.save(model, tmp_path / "both.onnx")
    assert "names opset 18 and opset 7, whose operators differ" in refusal(tmp_path / "both.onnx")


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
        message = refusal(_external(tmp_path, location, **info))
        assert pattern in message, location
        assert "'w'" in message
        assert "\n" not in message
