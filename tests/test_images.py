"""Pictures in and out, and the phantom."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpga_gen.images import (
    LETTERBOX_GREY,
    PictureError,
    Preprocess,
    find_pictures,
    prepare,
    read_input,
    read_picture,
    spread,
    write_png,
)
from fpga_gen.phantom import draw_phantom
from fpga_gen_host.pictures import COLOUR, LEGEND, letterbox_box, overlay, with_legend

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)


def test_normalisation_is_the_formula(picture: np.ndarray):
    out = prepare(picture, (3, 20, 30))
    expected = ((picture / 255 - MEAN) / STD).transpose(2, 0, 1)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        prepare(picture, (3, 20, 30), Preprocess("raw")), picture.transpose(2, 0, 1), atol=1e-4
    )
    unit = prepare(picture, (3, 20, 30), Preprocess("unit"))
    assert 0 <= unit.min() <= unit.max() <= 1


def test_stretch_is_bilinear_of_pillow(picture: np.ndarray):
    out = prepare(picture, (3, 8, 8), Preprocess("raw"))
    expected = np.asarray(Image.fromarray(picture).resize((8, 8), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(out, expected.transpose(2, 0, 1), atol=1e-4)


def test_letterbox_keeps_the_aspect_ratio_and_fills_with_grey(picture: np.ndarray):
    top, left, height, width = letterbox_box((20, 30), (60, 60))
    assert (top, left, height, width) == (10, 0, 40, 60)
    out = prepare(picture, (3, 60, 60), Preprocess("raw", "letterbox"))
    np.testing.assert_allclose(out[:, :10], LETTERBOX_GREY, atol=1e-3)
    np.testing.assert_allclose(out[:, 50:], LETTERBOX_GREY, atol=1e-3)
    assert abs(out[:, 10:50].mean() - picture.mean()) < 5


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (3, 7)])
def test_letterbox_of_odd_shapes_stays_inside(size: tuple[int, int]):
    top, left, height, width = letterbox_box(size, (32, 64))
    assert height >= 1
    assert width >= 1
    assert top >= 0
    assert left >= 0
    assert top + height <= 32
    assert left + width <= 64


def test_grey_and_palette_pictures_become_rgb(tmp_path: Path, picture: np.ndarray):
    for mode in ("L", "P", "RGBA", "1"):
        path = tmp_path / f"{mode}.png"
        Image.fromarray(picture).convert(mode).save(path)
        assert read_picture(path).shape == (20, 30, 3)


def test_one_channel_models_take_luminance(picture: np.ndarray):
    out = prepare(picture, (1, 20, 30), Preprocess("raw"))
    expected = picture @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(out[0], expected, atol=1)


def test_other_channel_counts_need_an_array(tmp_path: Path, picture: np.ndarray):
    with pytest.raises(PictureError, match=r"4 channels.*\.npy"):
        prepare(picture, (4, 20, 30))
    array = np.random.default_rng(0).normal(size=(4, 5, 6))
    np.save(tmp_path / "a.npy", array)
    out = read_input(tmp_path / "a.npy", (4, 5, 6), Preprocess())
    np.testing.assert_array_equal(out, array.astype(np.float32))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 4)), "shape"),
        (np.full((1, 2, 2), np.nan), "not finite"),
        (np.full((1, 2, 2), 1e300), "not finite in float32"),
        (np.zeros((1, 2, 2), complex), "real numbers"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(PictureError, match=message):
        read_input(tmp_path / "a.npy", (1, 2, 2), Preprocess())


def test_pickled_array_is_not_loaded(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(PictureError, match="not a readable"):
        read_input(tmp_path / "a.npy", (1, 2, 2), Preprocess())


def _header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def _archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros((1, 2, 2)))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_header("(3, 100000000, 100000)"), "not a readable"),
        (_archive(), "an archive"),
        (b"PK\x03\x04 and nothing else", "not a readable"),
        (b"", "not a readable"),
    ],
    ids=["terabytes", "archive", "no archive", "empty"],
)
def test_other_files_than_arrays(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(PictureError, match=message):
        read_input(tmp_path / "a.npy", (1, 2, 2), Preprocess())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["a.npy", "a.png"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    with pytest.raises(PictureError, match="not a file"):
        read_input(tmp_path / name, (1, 2, 2), Preprocess())


def test_folder_and_missing_file_are_refused(tmp_path: Path):
    with pytest.raises(PictureError, match="is a folder"):
        read_picture(tmp_path)
    with pytest.raises(PictureError, match="no such file"):
        read_picture(tmp_path / "absent.png")


def test_find_pictures_sorts_and_ignores_others(tmp_path: Path, picture: np.ndarray):
    for name in ("b.png", "a.jpg", "c.PNG"):
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert [p.name for p in find_pictures(tmp_path)] == ["a.jpg", "b.png", "c.PNG"]
    assert find_pictures(tmp_path / "b.png") == [tmp_path / "b.png"]


def test_spread_covers_the_list():
    paths = [Path(str(i)) for i in range(100)]
    assert [int(p.name) for p in spread(paths, 4)] == [0, 25, 50, 75]
    assert spread(paths, 200) == paths


def test_overlay_tints_the_mask_alone(picture: np.ndarray):
    mask = np.zeros((10, 15), bool)
    mask[2:6, 3:9] = True
    out = overlay(picture, mask, Preprocess().preparation)
    changed = (out != picture).any(2)
    assert changed[6:10, 8:16].all()
    assert not changed[:3].any()
    assert not changed[:, 20:].any()
    assert out.shape == picture.shape


def test_a_legend_below_the_picture(picture: np.ndarray):
    """The picture is as it was; the strip differs by the share of the mask that it names."""
    mask = np.zeros(picture.shape[:2], bool)
    without = with_legend(picture, mask)
    assert without.shape == (picture.shape[0] + LEGEND, picture.shape[1], 3)
    np.testing.assert_array_equal(without[:-LEGEND], picture)
    assert (without[-LEGEND:] == COLOUR).all(-1).any()
    wide = np.zeros((9, 400, 3), np.uint8)
    few, many = np.zeros((9, 400), bool), np.ones((9, 400), bool)
    assert (with_legend(wide, few) != with_legend(wide, many)).any()


def test_overlay_of_a_letterboxed_mask_drops_the_bars(picture: np.ndarray):
    mask = np.zeros((60, 60), bool)
    mask[:10] = mask[50:] = True  # only in the bars
    preprocess = Preprocess("imagenet", "letterbox")
    np.testing.assert_array_equal(overlay(picture, mask, preprocess.preparation), picture)


def test_png_round_trip(tmp_path: Path, picture: np.ndarray):
    write_png(tmp_path / "deep" / "p.png", picture)
    np.testing.assert_array_equal(read_picture(tmp_path / "deep" / "p.png"), picture)


def test_phantom_is_deterministic_and_shows_a_polyp():
    picture, mask = draw_phantom(96, 128, seed=5)
    again, _ = draw_phantom(96, 128, seed=5)
    np.testing.assert_array_equal(picture, again)
    assert picture.shape == (96, 128, 3)
    assert 0.02 < mask.mean() < 0.4
    redness = picture[..., 0].astype(float) - picture[..., 1]
    assert redness[mask].mean() > redness[~mask].mean() + 20
    other, _ = draw_phantom(96, 128, seed=6)
    assert (other != picture).any()
