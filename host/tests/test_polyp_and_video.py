"""Masks on pictures and sources of frames."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from host_fakes import layout_json, write_deploy
from PIL import Image

from fpga_gen_host import InputError, Outputs, load_deployment
from fpga_gen_host.pictures import COLOUR, contour
from fpga_gen_host.polyp import full_mask, mask_of, overlay
from fpga_gen_host.video import frames


@pytest.fixture
def letterboxed(tmp_path: Path):
    return load_deployment(write_deploy(tmp_path / "d", layout_json((8, 12), fit="letterbox")))


def test_mask_of_outputs(letterboxed):
    values = np.array([[[[-1.0, 0.0, 0.5]]]])
    mask = mask_of(Outputs({"mask": values}, None), letterboxed)  # type: ignore[arg-type]
    assert mask.tolist() == [[False, False, True]]
    with pytest.raises(InputError, match="a mask needs"):
        mask_of(Outputs({"mask": values[0]}, None), letterboxed)  # type: ignore[arg-type]


def test_bars_are_no_part_of_the_mask(letterboxed):
    """A square picture uses the 8 x 8 in the middle of 8 x 12."""
    mask = np.zeros((8, 12), bool)
    mask[:, :2] = True
    assert not full_mask(mask, (40, 40), letterboxed).any()
    mask[:, 2:6] = True
    full = full_mask(mask, (40, 40), letterboxed)
    assert full[:, :18].all()
    assert not full[:, 22:].any()


def test_contour():
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    line = contour(mask)
    assert line.sum() == 16
    assert not line[2:5, 2:5].any()
    assert not contour(np.ones((4, 4), bool)).any()


def test_overlay_leaves_the_rest_alone(letterboxed):
    picture = np.full((16, 24, 3), 100, np.uint8)
    mask = np.zeros((8, 12), bool)
    mask[2:6, 3:9] = True
    out = overlay(picture, mask, letterboxed)
    full = full_mask(mask, (16, 24), letterboxed)
    assert (out[~full] == 100).all()
    assert (out[contour(full)] == COLOUR).all()
    assert out[8, 12].tolist() == [76, 148, 96]  # 0.6 * 100 + 0.4 * colour
    assert (picture == 100).all()


def test_folder_and_animation(tmp_path: Path):
    for number in (2, 1):
        Image.new("RGB", (5, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    got = list(frames(tmp_path))
    assert [f[0, 0, 0] for f in got] == [1, 2]
    assert got[0].shape == (4, 5, 3)
    pages = [Image.new("RGB", (6, 6), c) for c in ("red", "blue")]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:])
    assert [f[0, 0].tolist() for f in frames(tmp_path / "a.gif")] == [[255, 0, 0], [0, 0, 255]]


def test_unusable_sources(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        next(frames(tmp_path / "none.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        next(frames(tmp_path / "empty"))
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(InputError, match="not a readable picture"):
        next(frames(tmp_path / "bad.png"))


def test_video_without_opencv(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "clip.mp4").write_bytes(b"film")
    for source in (tmp_path / "clip.mp4", 0):
        with pytest.raises(InputError, match="needs OpenCV"):
            next(frames(source))


class Capture:
    """cv2.VideoCapture of two frames in blue, green, red order."""

    released = 0

    def __init__(self, source: object) -> None:
        self.left = 2 if source == 0 else 0
        self.good = source == 0

    def isOpened(self) -> bool:
        return self.good

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        frame = np.full((2, 3, 3), (10, 20, 30), np.uint8)
        return (True, frame) if self.left >= 0 else (False, None)

    def release(self) -> None:
        Capture.released += 1


def test_camera(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(VideoCapture=Capture))
    got = list(frames(0))
    assert len(got) == 2
    assert got[0][0, 0].tolist() == [30, 20, 10]
    assert Capture.released == 1
    with pytest.raises(InputError, match="camera 7: cannot be opened"):
        next(frames(7))
    assert Capture.released == 2
