"""Every fault of a labelled folder: exit code 1, one clear line, and the build as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpga_gen.images import write_png
from tests.cli.networks import write_model
from tests.evaluate.conftest import write_bright


@pytest.fixture
def folder(bright: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bright, tmp_path / "bright"))


@pytest.fixture
def refused(cli, folder: Path):
    """Runs evaluate and expects a refusal that holds all words."""

    def call(*words: str, more: tuple[object, ...] = (), **changed: object) -> None:
        before = (folder / "out" / "manifest.json").read_bytes()
        places = {"out": folder / "out", "images": folder / "images", "masks": folder / "masks"}
        places |= changed
        result = cli("evaluate", places["out"], "--images", places["images"], "--masks",
                     places["masks"], *more)  # fmt: skip
        assert result.code == 1, result
        assert result.out == ""
        assert result.err.startswith("fpga-gen: ")
        assert len(result.err.strip().splitlines()) == 1
        for word in words:
            assert word in result.err, f"{word!r} not in {result.err!r}"
        assert (folder / "out" / "manifest.json").read_bytes() == before

    return call


def test_no_mask_matches(refused, folder: Path):
    for path in sorted((folder / "masks").iterdir()):
        path.rename(path.with_name(f"mask-{path.name}"))
    refused("masks: no mask belongs to a picture", "such as empty.png for empty.png")


def test_no_pictures(refused, folder: Path, tmp_path: Path):
    (tmp_path / "bare").mkdir()
    refused("bare: no pictures", images=tmp_path / "bare")
    refused("bare: no pictures", masks=tmp_path / "bare")
    refused("absent: no such file or folder", images=tmp_path / "absent")


def test_a_list_of_names(refused, folder: Path):
    names = folder / "names.txt"
    refused("names.txt: no such file or folder", more=("--only", names))
    names.write_text("absent.png\n")
    refused("names.txt: names no picture of", more=("--only", names))
    names.write_bytes(b"\xff\xfe")
    refused("names.txt: no list of names", more=("--only", names))
    refused("no list of names", more=("--only", folder))


def test_a_file_is_no_folder(refused, folder: Path):
    refused("good.png is a file", "--images", images=folder / "images" / "good.png")


def test_one_folder_for_both(refused, folder: Path):
    refused("the same folder", masks=folder / "images")


def test_an_array_is_no_picture(refused, folder: Path):
    np.save(folder / "images" / "x.npy", np.zeros((3, 12, 12)))
    refused("x.npy", "array")


def test_two_masks_for_one_picture(refused, folder: Path):
    shutil.copy(folder / "masks" / "good.png", folder / "masks" / "good.bmp")
    refused("good.bmp and good.png have one stem")


def test_broken_mask(refused, folder: Path):
    (folder / "masks" / "half.png").write_bytes(b"no picture")
    refused("half.png: not a readable picture")


def test_mask_of_another_picture(refused, folder: Path):
    write_png(folder / "masks" / "half.png", np.zeros((12, 24), np.uint8))
    refused("half.png: 24 x 12 pixels", "12 x 12", "not the mask of this picture")


def test_mask_of_sixteen_bits(refused, folder: Path):
    Image.fromarray(np.full((12, 12), 60000, np.uint16)).save(folder / "masks" / "half.png")
    refused("half.png", "8-bit", "I;16")


def test_masks_of_zeros_and_ones(refused, folder: Path):
    for path in (folder / "masks").iterdir():
        write_png(path, np.eye(12, dtype=np.uint8))
    refused("no mask has a pixel above 127", "255")


def test_another_model(refused, tmp_path: Path):
    other = write_bright(tmp_path / "other.onnx", gain=1.01)
    refused("other.onnx: not the model of", more=("--model", other))


def test_output_that_is_a_file(refused, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    refused("file: exists and is not a folder", more=("-o", tmp_path / "file"))


def test_no_build_directory(refused, tmp_path: Path):
    refused("not a build directory", out=tmp_path / "nothing")


def test_network_without_a_one_channel_map(cli, refused, tmp_path: Path):
    model = write_model(tmp_path / "net.onnx", outputs=2)
    assert cli("build", model, "--board", "tiny", "-o", tmp_path / "wide", "-q").code == 0
    refused("one-channel map", "'logits'", "2 channels", out=tmp_path / "wide")
