"""Every fault of the user's input: exit code 1, one clear line, no traceback, nothing left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpga_gen import pipeline
from fpga_gen.boards import board_names
from fpga_gen.images import write_png
from tests.cli.networks import write_model


def refused(result, *words: str) -> None:
    assert result.code == 1, result
    assert result.out == ""
    assert result.err.startswith("fpga-gen: ")
    assert "Traceback" not in result.err
    for word in words:
        assert word in result.err, f"{word!r} not in {result.err!r}"


@pytest.mark.parametrize("command", ["build", "estimate", "check"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a model", "not an ONNX file"), (b"", "no ONNX graph"), (None, "no such file")],
)
def test_file_that_is_no_model(cli, tmp_path: Path, command: str, content, message: str):
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    board = () if command == "check" else ("--board", "tiny")
    refused(cli(command, path, *board), "bad.onnx", message)


def test_truncated_model(cli, model: Path):
    model.write_bytes(model.read_bytes()[:-200])
    refused(cli("estimate", model, "--board", "tiny"), "net.onnx", "truncated")


def test_missing_external_data(cli, tmp_path: Path):
    path = write_model(tmp_path / "net.onnx", external="weights.data")
    (tmp_path / "weights.data").unlink()
    refused(cli("estimate", path, "--board", "tiny"), "weights.data", "missing")


def test_external_data_outside_the_folder(cli, tmp_path: Path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "weights.data").write_bytes(bytes(4096))
    path = write_model(tmp_path / "inner" / "net.onnx", external="../weights.data")
    refused(cli("estimate", path, "--board", "tiny"), "weights.data", "outside")


def test_dynamic_shape_needs_the_option(cli, tmp_path: Path):
    path = write_model(tmp_path / "net.onnx", dynamic=True)
    refused(cli("estimate", path, "--board", "tiny"), "--input-shape")
    assert cli("estimate", path, "--board", "tiny", "--input-shape", "1,3,12,12").code == 0
    assert cli("check", path, "--input-shape", "3,12,12").code == 0


def test_input_shape_that_does_not_fit(cli, model: Path):
    result = cli("estimate", model, "--board", "tiny", "--input-shape", "1,3,16,16")
    refused(result, "--input-shape", "does not fit")


def test_unsupported_operator_is_named_with_a_remedy(cli, tmp_path: Path):
    path = write_model(tmp_path / "net.onnx", activation="Cos")
    refused(cli("estimate", path, "--board", "tiny"), "Cos", "'activation'", "supported operators")
    refused(cli("check", path), "Cos", "'activation'", "supported operators")


def test_layer_too_big_for_the_board(cli, tmp_path: Path):
    path = write_model(tmp_path / "net.onnx", size=256, channels=32)
    refused(cli("estimate", path, "--board", "tiny"), "layer '", "memory")


def test_unknown_board_lists_the_known(cli, model: Path):
    refused(
        cli("build", model, "--board", "zcu1"), "unknown board 'zcu1'", ", ".join(board_names())
    )


def test_array_that_does_not_fit(cli, model: Path):
    result = cli("estimate", model, "--board", "zcu104", "--array", "8,16,24,24")
    refused(result, "does not fit zcu104", "LUTs")


def test_array_that_breaks_a_rule(cli, model: Path):
    result = cli("estimate", model, "--board", "zcu104", "--array", "8,16,10,6")
    refused(result, "dsp_columns must be a multiple of 12")


def test_clock_out_of_range(cli, model: Path):
    refused(cli("estimate", model, "--board", "tiny", "--clock-mhz", "900"), "--clock-mhz 900")


def test_empty_calibration_folder(cli, model: Path, tmp_path: Path):
    (tmp_path / "pictures").mkdir()
    options = ("--board", "tiny", "--calibration", tmp_path / "pictures")
    refused(cli("estimate", model, *options), "pictures", "no pictures in this folder")


def test_missing_calibration_folder(cli, model: Path, tmp_path: Path):
    options = ("--board", "tiny", "--calibration", tmp_path / "absent")
    refused(cli("estimate", model, *options), "absent", "no such file or folder")


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (None, "import_untrusted"),
        ({}, "import_untrusted"),
        ({"a.png": b"no picture"}, "choose_engines"),
    ],
)
def test_bad_pictures_are_found_before_the_long_steps(
    cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content, step: str
):
    """The path before the model is read, what is in it before engines are compared."""

    def too_late(*arguments: object, **options: object):
        raise AssertionError(f"{step} was reached")

    monkeypatch.setattr(pipeline, step, too_late)
    if content is not None:
        (tmp_path / "pictures").mkdir()
        for name, data in content.items():
            (tmp_path / "pictures" / name).write_bytes(data)
    options = ("--board", "kv260", "--calibration", tmp_path / "pictures")
    refused(cli("estimate", model, *options), "pictures")


def test_calibration_picture_that_is_none(cli, model: Path, tmp_path: Path):
    folder = tmp_path / "pictures"
    write_png(folder / "a.png", np.zeros((8, 8, 3), np.uint8))
    (folder / "b.png").write_bytes(b"no picture")
    options = ("--board", "tiny", "--calibration", folder)
    refused(cli("estimate", model, *options), "b.png", "not a readable picture")


def test_truncated_calibration_picture(cli, model: Path, tmp_path: Path):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    options = ("--board", "tiny", "--calibration", path)
    refused(cli("estimate", model, *options), "a.png", "not a readable picture")


def test_output_that_is_not_a_build(cli, model: Path, tmp_path: Path):
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    refused(cli("build", model, "--board", "tiny", "-o", target), "mine", "choose another -o")
    assert (target / "thesis.txt").read_text() == "years of work"


def test_failed_build_leaves_nothing(cli, model: Path, tmp_path: Path):
    target = tmp_path / "out"
    path = write_model(tmp_path / "big.onnx", size=256, channels=32)
    refused(cli("build", path, "--board", "tiny", "-o", target), "memory")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.onnx", "net.onnx"]


def test_verbose_adds_the_traceback(cli, tmp_path: Path):
    result = cli("check", tmp_path / "absent.onnx", "-v")
    assert result.code == 1
    assert "Traceback" in result.err
    assert "fpga-gen: " in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("estimate", "net.onnx"),
        ("estimate", "net.onnx", "--board", "tiny", "--array", "8,16,24"),
        ("estimate", "net.onnx", "--board", "tiny", "--array", "a,b,c,d"),
        ("estimate", "net.onnx", "--board", "tiny", "--array", "0,16,24,18"),
        ("estimate", "net.onnx", "--board", "tiny", "--scheme", "float"),
        ("estimate", "net.onnx", "--board", "tiny", "--input-shape", "352"),
        ("estimate", "net.onnx", "--board", "tiny", "--clock-mhz", "fast"),
        ("simulate", "out"),
    ],
)
def test_usage_errors_are_2(cli, arguments: tuple[str, ...]):
    assert cli(*arguments).code == 2


def test_models_export_unknown(cli):
    refused(cli("models", "export", "resnet"), "unknown model 'resnet'", "hardnet-mseg")


def test_models_export_without_torch_names_the_extra(cli, monkeypatch, tmp_path: Path):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    result = cli("models", "export", "hardnet-68", "-o", tmp_path / "m.onnx")
    refused(result, "torch", "fpga-gen[models]")
    assert not (tmp_path / "m.onnx").exists()


def test_models_export_missing_checkpoint(cli, tmp_path: Path):
    result = cli("models", "export", "hardnet-mseg", "--checkpoint", tmp_path / "x.pth")
    refused(result, "x.pth", "no such checkpoint")


@pytest.mark.parametrize("seed", ["-1", "-9999999999999999999999"])
def test_negative_seed(cli, model, seed):
    refused(cli("estimate", model, "--board", "tiny", "--seed", seed), f"--seed {seed}")


@pytest.mark.parametrize("name", ["n" * 300, "n" * 5000])
def test_impossible_names(cli, model, built, name):
    """Longer than a file system allows: no such file."""
    refused(cli("check", name))
    refused(cli("estimate", model, "--board", "tiny", "--calibration", name))
    refused(cli("build", model, "--board", "tiny", "-o", name))
    refused(cli("simulate", name, "--image", "a.png"))
    refused(cli("simulate", built, "--image", name))
    refused(cli("compare", built, name))
    refused(cli("evaluate", built, "--images", name, "--masks", name))
    refused(cli("reference", built, "--images", name))
    refused(cli("synth", name))
    refused(cli("board", name))
