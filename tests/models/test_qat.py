"""Quantisation-aware training: the engine's numbers in torch, and back into the compiler."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image

from fpga_gen.builddir.artifacts import load_build
from fpga_gen.contract.column_kinds import weight_codes
from fpga_gen.contract.numerics import DSP, SCHEMES, SP2
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.frontend.labels import layer_labels
from fpga_gen.graph.ir import Graph, Mul
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer, sqnr_db
from fpga_gen.quant.ir import QConv, QuantGraph
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_models.qat import main
from fpga_gen_models.qat_export import graph_bytes
from fpga_gen_models.qat_graph import QuantNet
from fpga_gen_models.qat_layers import start_latent
from tests.cli.conftest import board_files, cli, tiny_board
from tests.engines import SMALL
from tests.frontend.onnx_models import Net

__all__ = ["board_files", "cli", "tiny_board"]  # fixtures of the command line's tests

SIZE = 32
SCHEME_NAMES = ("mixed", "msq4")


def write_network(folder: Path) -> Path:
    """Stem with stride 2, pool, concat, sum of convolutions, product, enlargements."""
    net = Net(shape=(1, 3, SIZE, SIZE), opset=17)
    stem = net.op("Relu", net.conv("x", 3, 8, strides=[2, 2]))
    pool = net.op("MaxPool", stem, kernel_shape=[2, 2], strides=[2, 2])
    low = net.op("MaxPool", pool, kernel_shape=[2, 2], strides=[2, 2])
    a = net.op("Clip", net.conv(low, 8, 8), net.const(0.0), net.const(6.0))
    deep = net.conv(a, 8, 8, k=(1, 3))
    cat = net.op("Concat", low, a, deep, axis=1)
    total = net.op("Relu", net.op("Add", net.conv(cat, 24, 8, k=1), net.conv(a, 8, 8)))
    up = net.op(
        "Resize", total, "", net.const([1, 1, 2, 2]), mode="linear",
        coordinate_transformation_mode="align_corners",
    )  # fmt: skip
    gated = net.op("Mul", up, net.conv(pool, 8, 8, k=1))
    head = net.conv(gated, 8, 1)
    net.op(
        "Resize", head, "", net.const([1, 1, 4, 4]), mode="linear",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    return net.save(folder)


def pictures(n: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((3, SIZE, SIZE)).astype(np.float32) for _ in range(n)]


def compiled(path: Path, scheme: str, raw: bool, **options) -> tuple[Graph, QuantGraph]:
    """raw: the engine reads pixels, as in a build; otherwise the normalised picture."""
    graph = optimise(import_onnx(path), NORMALISATIONS["imagenet"] if raw else None)
    assert bool(graph.host_input.gain) == raw
    params = replace(SMALL, sp2_code=SCHEMES[scheme].sp2_code or SMALL.sp2_code)
    return graph, quantise(
        graph, params, pictures(4, 1), scheme=scheme, options=QuantOptions(**options)
    )


def network(path: Path, scheme: str, raw: bool = True) -> tuple[Graph, QuantGraph, QuantNet]:
    """The tiny network with its product in 16 bits."""
    graph = optimise(import_onnx(path))
    wide = [n.output for n in graph.nodes if isinstance(n, Mul)]
    wide += [] if raw else [graph.input]
    graph, qgraph = compiled(path, scheme, raw, wide_tensors=tuple(wide))
    codes = weight_codes(qgraph.sp2, SCHEMES[scheme].fixed_bits)
    return graph, qgraph, QuantNet(graph, qgraph, codes, torch.float32)


def convs(qgraph: QuantGraph) -> list[QConv]:
    return [n for n in qgraph.nodes if isinstance(n, QConv)]


def trained_codes(net: QuantNet) -> list[np.ndarray]:
    with torch.no_grad():
        return [c.levels().numpy().astype(int) for c in net.convs.values()]


def shaken(net: QuantNet) -> QuantNet:
    """Random changes in place of a training: levels, scales and biases move."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += 0.15 * noise if parameter.ndim > 1 else 0.02 * noise
    return net


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_starts_as_what_the_compiler_computes(scheme: str, raw: bool, tmp_path: Path):
    _, qgraph, net = network(write_network(tmp_path), scheme, raw)
    assert any(t.format.bits == 16 for t in qgraph.tensors.values())
    for got, conv in zip(trained_codes(net), convs(qgraph), strict=True):
        want = np.concatenate([t.weight.reshape(len(got), -1) for t in conv.terms], 1)
        np.testing.assert_array_equal(got, want)
    for image in pictures(3, 2):
        stored = run_integer(qgraph, quantise_input(qgraph, image))
        real = {o: dequantise(qgraph, o, stored[o]) for o in qgraph.outputs}
        want = next(iter(run_host_ops(qgraph, real).values()))
        with torch.no_grad():
            got = net(torch.from_numpy(image)[None]).numpy()
        assert got.shape == want.shape == (1, 1, SIZE, SIZE)
        assert sqnr_db(want, got) > 35  # a tie may round the other way


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_trained_codes_come_out_of_the_compiler_unchanged(scheme: str, raw: bool, tmp_path: Path):
    _, qgraph, net = network(write_network(tmp_path), scheme, raw)
    before = trained_codes(net)
    codes = trained_codes(shaken(net))
    assert any((a != b).any() for a, b in zip(before, codes, strict=True))
    (tmp_path / "trained.onnx").write_bytes(graph_bytes(net.float_graph(), qgraph))

    again_graph, again = compiled(tmp_path / "trained.onnx", scheme, raw)
    assert again.facts["imported"] == []
    labels = {n.onnx_name: f"of.{n.name}" for n in convs(qgraph)[:2]}
    (tmp_path / "named.onnx").write_bytes(graph_bytes(net.float_graph(), qgraph, labels))
    assert set(labels.values()) <= set(layer_labels(tmp_path / "named.onnx").values())
    filters = sum(len(c) for c in codes)
    assert again.facts["imported_filters_kept"] == f"{filters} of {filters}"
    for want, old, conv in zip(codes, convs(qgraph), convs(again), strict=True):
        for field in ("kinds", "format"):
            found = getattr(again.tensors[conv.output], field)
            assert found == getattr(qgraph.tensors[old.output], field)
        got = np.concatenate([t.weight.reshape(len(want), -1) for t in conv.terms], 1)
        np.testing.assert_array_equal(got, want)
    image = pictures(1, 5)[0]
    stored = run_integer(again, quantise_input(again, image))
    real = {o: dequantise(again, o, stored[o]) for o in again.outputs}
    want = next(iter(run_host_ops(again_graph, real).values()))
    with torch.no_grad():
        got = net(torch.from_numpy(image)[None]).numpy()
    assert sqnr_db(want, got) > 35


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_gradients_pass_straight_through_and_levels_stay_on_their_grids(
    scheme: str, tmp_path: Path
):
    _, qgraph, net = network(write_network(tmp_path), scheme)
    images = torch.from_numpy(np.stack(pictures(2, 3)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    before = trained_codes(net)
    net(images).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    optimizer.step()
    after = trained_codes(net)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    top = 2 ** (SCHEMES[scheme].fixed_bits - 1) - 1
    for codes, conv in zip(after, convs(qgraph), strict=True):
        kinds = np.array(qgraph.tensors[conv.output].kinds)
        assert np.isin(codes[kinds == SP2], qgraph.sp2.levels).all()
        assert np.abs(codes[kinds == DSP]).max() <= top
        want = [SMALL.column_kind(j) for j in range(len(kinds))]
        assert sorted(kinds) == sorted(want)  # the ratio of the array


def test_what_was_pruned_stays_zero(tmp_path: Path):
    model = onnx.load(write_network(tmp_path))
    pruned = {}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor).copy()
        if array.ndim == 4 and array.shape[1] > 1:
            array[::2, 0] = 0
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
            pruned[tensor.name] = (array == 0).sum()
    onnx.save(model, tmp_path / "pruned.onnx")
    assert pruned
    _, _, net = network(tmp_path / "pruned.onnx", "mixed")
    zeros = [~conv.live for conv in net.convs.values()]
    assert sum(int(z.sum()) for z in zeros) >= sum(pruned.values()) / 2
    after = trained_codes(shaken(net))
    for codes, gone in zip(after, zeros, strict=True):
        assert not codes[gone.numpy()].any()
    assert any((codes != 0).any() for codes in after)


def test_latents_start_in_the_cells_of_the_compilers_levels():
    grid = np.array([-8, -4, -2, 0, 2, 4, 8])
    levels = np.array([[0, 2, 8, -8, 4, 4]])
    weights = np.array([[0.9, 0.2, 20.0, -3.0, 5.9, 7.0]])
    start = start_latent(weights, levels, [grid])
    np.testing.assert_allclose(start, [[0.9, 1.02, 8.0, -6.04, 5.9, 5.96]])
    nearest = grid[np.abs(start[..., None] - grid).argmin(-1)]
    np.testing.assert_array_equal(nearest, levels)


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """Twelve pictures of a bright disc on noise, with its mask."""
    root = tmp_path / "discs"
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for n in range(12):
        y, x, radius = rng.integers(8, 24), rng.integers(8, 24), rng.integers(4, 9)
        mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        picture = rng.integers(0, 100, (SIZE, SIZE, 3)) + 120 * mask[..., None]
        Image.fromarray(picture.astype(np.uint8)).save(root / "images" / f"p{n}.png")
        Image.fromarray((255 * mask).astype(np.uint8)).save(root / "masks" / f"p{n}.png")
    return root


def test_command_line_from_training_to_a_build(discs: Path, tmp_path: Path, cli):
    model, out = write_network(tmp_path), tmp_path / "run"
    options = "--board tiny --batch 2 --cache-size 32 --validation 0.3 --precision fp32"
    arguments = ["--model", str(model), "--data", str(discs), "--out", str(out), *options.split()]
    assert main([*arguments, "--steps", "1"]) == 0
    assert main([*arguments, "--steps", "3", "--resume"]) == 0
    record = json.loads((out / "metrics.json").read_text())
    assert (record["step"], record["scheme"], record["size"]) == (3, "msq4", SIZE)
    assert record["sp2_mac_share"] == pytest.approx(0.5, abs=0.05)
    assert set(record["validation"]) == {"before", "after"}
    held_out = record["validation"]["after"]["all"]["images"]
    assert record["training_pictures"] + held_out == 12

    trained = out / "model.onnx"
    array = ",".join(map(str, record["array"]))
    build = ["build", trained, "--board", "tiny", "--scheme", "msq4", "-o", tmp_path / "built"]
    build += ["--array", array]
    result = cli(*build)
    assert result.code == 0, result.err
    facts = load_build(tmp_path / "built").json("report.json")["quantisation"]
    assert facts["imported"] == []
    kept, filters = facts["imported_filters_kept"].split(" of ")
    assert kept == filters


def test_a_network_without_a_mask_is_refused(discs: Path, tmp_path: Path, capsys):
    net = Net(shape=(1, 3, SIZE, SIZE), opset=17)
    net.conv("x", 3, 4)
    arguments = ["--model", str(net.save(tmp_path)), "--board", "tiny", "--data", str(discs)]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--steps", "1"]) == 1
    assert "one mask of its size" in capsys.readouterr().err


def test_faulty_input_is_one_line(discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    model = write_network(tmp_path)
    good = {"--model": str(model), "--board": "tiny", "--data": str(discs), "--steps": "1"}
    for option, value in (
        ("--model", str(tmp_path / "none.onnx")),
        ("--board", "none"),
        ("--data", str(tmp_path / "none")),
        ("--steps", "0"),
    ):
        changed = {**good, option: value, "--out": str(tmp_path / "out")}
        assert main([word for pair in changed.items() for word in pair]) == 1
        error = capsys.readouterr().err.splitlines()
        assert [line.startswith("error: ") for line in error].count(True) == 1
