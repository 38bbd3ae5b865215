"""Networks that people bring: written without torch, valid, imported as onnxruntime has them."""

import hashlib

import numpy as np
import onnx
import pytest

from fpga_gen.frontend.importer import check_onnx, import_onnx
from fpga_gen.graph.interpreter import run_float
from fpga_gen.graph.ir import conv_macs
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_models.zoo import NETWORKS, export_network
from tests.frontend.onnx_models import model_array, run_reference

SIZE = {"espcn": 40, "tc-resnet8": None} | {
    name: network.shape[1] for name, network in NETWORKS.items() if name.startswith("ssd")
}
LARGE = ("alexnet", "vgg16", "resnet50", "densenet121", "unet", "ssd300-hardnet85",
         "ssd512-hardnet68", "ssd512-hardnet85", "fairmot-hardnet85")  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in NETWORKS]
)
def test_network(name, tmp_path):
    path = export_network(name, tmp_path / "net.onnx", size=SIZE.get(name, 64))
    onnx.checker.check_model(path, full_check=True)
    assert check_onnx(path) == []  # no network has an operator that is refused
    graph = optimise(import_onnx(path))
    image = np.random.default_rng(1).normal(size=graph.host_input.model_shape).astype(np.float32)
    expected = run_reference(path, model_array(graph.host_input, image))
    got = run_host_ops(graph, run_float(graph, image))
    for want, have in zip(expected, got.values(), strict=True):
        assert have.shape == want.shape
        assert np.abs(have - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize(
    ("name", "gmac"),
    [("mobilenet-v2", 0.30), ("shufflenet-v2", 0.15), ("squeezenet", 0.35), ("resnet18", 1.81)],
)
def test_work_is_that_of_the_paper(name, gmac, tmp_path):
    graph = import_onnx(export_network(name, tmp_path / "net.onnx"))
    assert conv_macs(graph) == pytest.approx(gmac * 1e9, rel=0.05)


@pytest.mark.parametrize(
    ("name", "millions"), [("fc-hardnet70", 4.10), ("centernet-hardnet85", 37.2)]
)
def test_weights_are_those_of_the_published_network(name, millions, tmp_path):
    model = onnx.load(export_network(name, tmp_path / "net.onnx", size=64))
    count = sum(int(np.prod(item.dims)) for item in model.graph.initializer if len(item.dims) > 1)
    assert count == pytest.approx(1e6 * millions, rel=0.01)


def test_equal_seeds_give_equal_bytes(tmp_path):
    def digest(seed: int) -> str:
        path = export_network("tc-resnet8", tmp_path / f"{seed}.onnx", seed=seed)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    assert digest(3) == digest(3)
    assert digest(3) != digest(4)


def test_half_precision_halves_the_file(tmp_path):
    sizes = [
        export_network("shufflenet-v2", tmp_path / f"{half}.onnx", half=half).stat().st_size
        for half in (False, True)
    ]
    assert sizes[1] < 0.55 * sizes[0]


def test_a_network_of_one_dimension_has_no_size(tmp_path):
    with pytest.raises(ValueError, match="no height and width"):
        export_network("tc-resnet8", tmp_path / "net.onnx", size=64)
