"""The command: results, pictures and error messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from host_fakes import FakeDevice, first_bytes, layout_json, write_deploy
from PIL import Image

from fpga_gen_host.__main__ import main
from fpga_gen_host.pictures import LEGEND


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        Image.new("RGB", (20, 10), (90 * number, 90 * number, 90 * number)).save(
            tmp_path / f"{number}.png"
        )
    return write_deploy(tmp_path / "deploy")


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice(first_bytes(layout_json()["output"]["bytes"]))


def test_pictures_with_masks(folder: Path, device: FakeDevice, capsys):
    out = folder.parent / "out"
    arguments = [str(folder), str(folder.parent), "-o", str(out), "--layers"]
    assert main(arguments, device) == 0
    printed = capsys.readouterr().out
    assert "3 frames," in printed
    assert "conv     first" in printed
    drawn = [np.asarray(Image.open(p)) for p in sorted(out.iterdir())]
    assert [d.shape for d in drawn] == [(10 + LEGEND, 20, 3)] * 3
    drawn = [d[:-LEGEND] for d in drawn]
    assert (drawn[0] == 0).all()  # black is below zero after normalisation: no mask
    assert (drawn[2] != 180).any()  # a bright picture is all mask
    assert not device.live


def test_frame_limit(folder: Path, device: FakeDevice, capsys):
    assert main([str(folder), str(folder.parent), "-n", "2"], device) == 0
    assert "2 frames," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "limit", "message"),
    [("none.png", "5", "no such file"), ("0.png", "0", "no frames")],
)
def test_one_clear_line(
    folder: Path, device: FakeDevice, capsys, source: str, limit: str, message: str
):
    assert main([str(folder), str(folder.parent / source), "-n", limit], device) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not device.live
