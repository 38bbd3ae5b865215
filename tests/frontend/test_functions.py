"""Local functions: inlined, or refused before they are copied."""

import time

import onnx
import pytest
from onnx import helper

from fpga_gen.errors import UnsupportedModel
from fpga_gen.frontend.functions import MAX_DEPTH
from fpga_gen.frontend.importer import import_onnx
from tests.frontend.onnx_models import Net, assert_like_onnxruntime


def calling(count: int, calls: int, cycle: bool = False) -> onnx.ModelProto:
    """F0(x), where each function calls the next one `calls` times and the last is a Relu."""
    net = Net()
    net.op("F0", "x", domain="acme")
    model = net.model("n0")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("acme", 1)]
    for index in range(count):
        nodes, last = [], index == count - 1 and not cycle
        for call in range(calls):
            source = f"t{call}" if call else "a"
            target = f"t{call + 1}" if call < calls - 1 else "b"
            name = "Relu" if last else f"F{(index + 1) % count}"
            domain = "" if last else "acme"
            nodes.append(helper.make_node(name, [source], [target], domain=domain))
        model.functions.append(
            helper.make_function("acme", f"F{index}", ["a"], ["b"], nodes, opsets)
        )
    model.opset_import.append(helper.make_opsetid("acme", 1))
    return model


def refusal(model: onnx.ModelProto, folder) -> str:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    began = time.process_time()
    with pytest.raises(UnsupportedModel) as error:
        import_onnx(path)
    assert time.process_time() - began < 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_functions_in_functions(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(calling(3, 2).SerializeToString())
    assert_like_onnxruntime(path)


def test_doublings_are_counted_before_they_are_made(tmp_path):
    message = refusal(calling(31, 2), tmp_path)
    assert f"its functions become {2**31} nodes" in message
    assert "its functions become 9000000 nodes" in refusal(calling(2, 3000), tmp_path)


@pytest.mark.parametrize("count", [1, 3])
def test_recursion(count, tmp_path):
    assert "function 'F0' calls itself" in refusal(calling(count, 1, cycle=True), tmp_path)


def test_depth(tmp_path):
    assert f"nested more than {MAX_DEPTH} deep" in refusal(calling(3000, 1), tmp_path)


def test_what_onnx_cannot_inline(tmp_path, monkeypatch):
    def inline(model):
        raise onnx.checker.ValidationError("no such version\nand more")

    monkeypatch.setattr("fpga_gen.frontend.functions.inline_local_functions", inline)
    assert "cannot be inlined: no such version; " in refusal(calling(1, 1), tmp_path)
