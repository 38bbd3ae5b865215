"""`check` runs everything up to the schedule: what passes can be built, within seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpga_gen.boards import largest_board
from fpga_gen.quant import quantise as quantiser
from fpga_gen.quant.precision import PrecisionChoice
from tests.cli.networks import write_model
from tests.cli.zoo import write_network
from tests.frontend.onnx_models import Net


def verdict(result) -> dict:
    return json.loads(result.out)


def test_passes_and_builds(cli, model: Path, tmp_path: Path):
    result = cli("check", model, "--board", "tiny", "--json")
    found = verdict(result)
    assert result.code == 0
    assert (found["supported"], found["problems"], found["board"]) == (True, [], "tiny")
    result = cli("build", model, "--board", "tiny", "-o", tmp_path / "out", "--json")
    assert result.code == 0
    report = verdict(result)["report"]
    assert found["cycles"] == pytest.approx(report["estimate"]["cycles"], rel=0.2)
    assert found["parameters"]["pixels"] == report["array"]["pixels"]


def test_without_a_board_it_is_the_largest(cli, model: Path):
    found = verdict(cli("check", model, "--json"))
    assert found["board"] == largest_board()
    assert found["parameters"]["in_channels"] * found["parameters"]["pixels"] == 128


def test_memory_of_the_board_counts(cli, tmp_path: Path):
    path = write_model(tmp_path / "net.onnx", size=384, channels=32)
    assert cli("check", path, "--board", "zcu104").code == 0
    result = cli("check", path, "--board", "tiny")
    assert result.code == 1
    assert "cannot be compiled for tiny, 1 problem\n" in result.err
    assert "bytes even a row at a time, the memory has 32768" in result.err
    assert cli("build", path, "--board", "tiny", "-o", tmp_path / "out").code == 1


def test_every_layer_that_cannot_be_scheduled_is_listed(cli, tmp_path: Path):
    net = Net((1, 3, 40, 40))
    a = net.conv("x", 3, 4, 1, strides=[17, 17])
    b = net.conv("x", 3, 4, 3, strides=[18, 18])
    path = net.save(tmp_path, a, b)
    found = verdict(cli("check", path, "--board", "tiny", "--json"))
    assert not found["supported"]
    assert [(p["node"], p["op"], p["reason"]) for p in found["problems"]] == [
        ("conv_0", "Conv", "vertical stride 17 is above 15"),
        ("conv_1", "Conv", "vertical stride 18 is above 15"),
    ]
    assert all(p["remedy"] for p in found["problems"])


def test_array_and_scheme_are_options(cli, model: Path):
    found = verdict(cli("check", model, "--board", "zcu104", "--array", "8,16,24,0",
                        "--scheme", "fixed8", "--json"))  # fmt: skip
    assert (found["parameters"]["dsp_columns"], found["parameters"]["sp2_columns"]) == (24, 0)
    result = cli("check", model, "--board", "zcu104", "--array", "8,16,24,24")
    assert result.code == 1
    assert "does not fit zcu104" in result.err


def test_approximations_are_told(cli, tmp_path: Path):
    net = Net((1, 3, 131, 4))
    y = net.op("Relu", net.conv("x", 3, 4))
    net.op("Resize", y, "", "", net.ints(1, 4, 262, 4), mode="linear", name="up",
           coordinate_transformation_mode="align_corners")  # fmt: skip
    result = cli("check", net.save(tmp_path), "--board", "tiny")
    assert result.code == 0
    assert "approximate: up: interpolation weights off by up to 1.9e-03" in result.out


@pytest.mark.parametrize("name", ["resnet18", "yolo"])
def test_networks_that_people_bring(cli, tmp_path: Path, name: str):
    path = write_network(name, tmp_path)
    result = cli("check", path, "--board", "zcu104", "--json")
    assert result.code == 0, result.err


def test_maps_of_16_bits_give_way_to_the_memory(cli, tmp_path: Path, monkeypatch):
    """A network that fits with 8 bits, as `check` looks at it, is built with 8 bits."""
    path = write_model(tmp_path / "net.onnx", size=38, channels=8)
    assert cli("check", path, "--board", "tiny").code == 0

    def all_wide(graph, images, scales, formats, *arguments) -> PrecisionChoice:
        return PrecisionChoice({}, tuple(n for n in formats if n != graph.input), 0.0, 0.0)

    monkeypatch.setattr(quantiser, "choose_precision", all_wide)
    result = cli("build", path, "--board", "tiny", "-o", tmp_path / "out")
    assert result.code == 0, result.err
    facts = json.loads((tmp_path / "out" / "report.json").read_text())["quantisation"]
    assert facts["wide_tensors"] == []
    assert {"c", "d"} & {a["where"] for a in facts["approximations"]}
    assert "8 bits where 16 were wanted: feature maps need" in result.out
