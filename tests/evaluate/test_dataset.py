"""Ground truth: matching by stem, threshold, nearest neighbour, letterbox."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpga_gen.evaluate.dataset import find_pairs, read_grey, truth_at
from fpga_gen.images import Preprocess, write_png
from fpga_gen.phantom import draw_phantom, main
from fpga_gen_host.pictures import uncover


def test_pairs_by_stem_whatever_the_suffix(tmp_path: Path):
    grey = np.zeros((4, 4), np.uint8)
    for name in ("b.png", "a.bmp", "c.png"):
        write_png(tmp_path / "images" / name, grey)
    for name in ("a.png", "b.tif", "z.png"):
        write_png(tmp_path / "masks" / name, grey)
    found = find_pairs(tmp_path / "images", tmp_path / "masks")
    assert [(p.name, p.mask.name) for p in found.pairs] == [("a.bmp", "a.png"), ("b.png", "b.tif")]
    assert found.unlabelled == ("c.png",)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_mask_reads_alike_in_every_eight_bit_mode(tmp_path: Path, mode: str):
    mask = np.eye(6, dtype=bool)
    Image.fromarray(mask.astype(np.uint8) * 255).convert(mode).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "m.png") > 127, mask)


def test_nearest_keeps_blocks_and_does_not_blend():
    mask = np.array([[1, 0], [0, 1]], bool)
    truth = truth_at(mask, (4, 6), (2, 2), Preprocess())
    np.testing.assert_array_equal(truth, np.kron(mask, np.ones((2, 3), bool)))
    small = truth_at(np.kron(mask, np.ones((8, 8), bool)), (2, 2), (16, 16), Preprocess())
    np.testing.assert_array_equal(small, mask)


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (17, 45), (7, 7)])
def test_letterboxed_truth_covers_what_a_prediction_covers(size: tuple[int, int]):
    letterbox = Preprocess(fit="letterbox")
    truth = truth_at(np.ones(size, bool), (44, 44), size, letterbox)
    predicted = uncover(np.zeros((44, 44), bool), size, letterbox.preparation)
    assert truth.shape == predicted.shape
    assert truth.all()


def test_phantoms_come_with_their_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images, masks = tmp_path / "images", tmp_path / "masks"
    words = ["phantom", str(images), "--count", "2", "--size", "24", "--masks", str(masks)]
    monkeypatch.setattr("sys.argv", words)
    main()
    found = find_pairs(images, masks)
    assert len(found.pairs) == 2
    assert found.unlabelled == ()
    for seed, pair in enumerate(found.pairs):
        np.testing.assert_array_equal(read_grey(pair.mask) > 127, draw_phantom(24, 24, seed)[1])


def test_empty_phantoms_differ_by_the_polyp_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images, masks = tmp_path / "images", tmp_path / "masks"
    words = ["phantom", str(images), "--count", "1", "--size", "64", "--masks", str(masks)]
    monkeypatch.setattr("sys.argv", [*words, "--seed", "5", "--empty"])
    main()
    (pair,) = find_pairs(images, masks).pairs
    assert pair.image.name == "empty-0005.png"
    assert not read_grey(pair.mask).any()
    whole, mask = draw_phantom(64, 64, 5)
    empty, none = draw_phantom(64, 64, 5, polyp=False)
    changed = (whole != empty).any(2)
    assert not none.any()
    assert changed[mask].mean() > 0.95
    assert changed.mean() < 0.6
    corners = changed[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()
