"""Scores of masks, SQNR sums, ranking, and the picture sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fpga_gen.contract.numerics import FORMATS, TWO_TERM
from fpga_gen.evaluate.dataset import Pair
from fpga_gen.evaluate.masks import PackedMask, Sample, SqnrSums, by_dice, evenly, mean_scores
from fpga_gen.evaluate.sheet import (
    COLUMNS,
    FALSE,
    GAP,
    HIT,
    LINE,
    MISSED,
    TILE,
    caption,
    colour_mask,
    draw_sheet,
    sheet_ranks,
)
from fpga_gen.images import write_png
from fpga_gen.quant.ir import QTensor, QuantGraph
from fpga_gen_host.model_input import HostInput
from tests.evaluate.conftest import SIZE, box


def sample(folder: Path, name: str, truth: np.ndarray, **masks: np.ndarray) -> Sample:
    path = folder / f"{name}.png"
    write_png(path, np.full((SIZE, SIZE, 3), 90, np.uint8))
    one = Sample(Pair(path, path), (SIZE, SIZE), PackedMask.of(truth))
    for source, mask in masks.items():
        one.add(source, mask)
    return one


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (12, 12), (3, 8)])
def test_packed_masks_come_back(shape: tuple[int, int]):
    mask = np.random.default_rng(1).random(shape) > 0.4
    np.testing.assert_array_equal(PackedMask.of(mask).get(), mask)


def test_scores_are_means_over_pictures(tmp_path: Path):
    truth = box(0, 0, 4, 4)
    first = sample(tmp_path, "a", truth, float=truth, integer=box(0, 0, 4, 8))
    second = sample(tmp_path, "b", truth, float=truth, integer=truth)
    score = mean_scores("integer", [first, second])
    assert score.dice == pytest.approx((2 / 3 + 1) / 2)
    assert score.iou == pytest.approx(0.75)
    assert score.precision == pytest.approx(0.75)
    assert score.recall == 1.0
    assert score.agreement_float == pytest.approx((128 / 144 + 1) / 2)
    assert score.agreement_integer is None
    assert mean_scores("float", [first, second]).agreement_integer == score.agreement_float


def test_ranking_has_the_worst_first_and_is_stable(tmp_path: Path):
    truth = box(0, 0, 4, 4)
    names = [s.pair.name for s in by_dice([
        sample(tmp_path, "c", truth, integer=truth),
        sample(tmp_path, "b", truth, integer=box(0, 0, 4, 8)),
        sample(tmp_path, "a", truth, integer=truth),
    ])]  # fmt: skip
    assert names == ["b.png", "a.png", "c.png"]


def test_sqnr_is_summed_over_pictures_before_the_logarithm():
    tensors = {
        n: QTensor(n, 1, 1, 2, 0.5, f) for n, f in (("x", FORMATS["i8"]), ("y", FORMATS["i8"]))
    }
    qgraph = QuantGraph(
        "net", "x", ("y",), tensors, (), TWO_TERM, HostInput((1, 1, 2)), (), ("y",)
    )  # fmt: skip
    sums = SqnrSums(qgraph)
    for real, stored in (([3.0, 4.0], [6, 8]), ([3.0, 4.0], [6, 9])):
        maps = np.array(real, np.float32).reshape(1, 1, 2)
        integers = np.array(stored, np.int8).reshape(1, 1, 2)
        sums.add({"x": maps, "y": maps}, {"x": np.array([[[6, 8]]], np.int8), "y": integers})
    found = sums.tensors()
    assert [t.tensor for t in found] == ["y", "x"]
    assert found[0].sqnr_db == pytest.approx(10 * np.log10(50 / 0.25))
    assert found[1].sqnr_db is None  # exact


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100])
@pytest.mark.parametrize("wanted", [0, 1, 3, 8, 20])
def test_even_choice(count: int, wanted: int):
    ranks = evenly(count, wanted)
    assert len(ranks) == len(set(ranks)) == min(count, wanted)
    assert ranks == sorted(ranks)
    assert ranks[:1] == [0][: len(ranks)]
    if min(count, wanted) > 1:
        assert ranks[-1] == count - 1


def test_sheet_shows_the_worst_and_what_rtl_computed():
    assert sheet_ranks(100, []) == evenly(100, 8)
    assert {0, 41, 43} <= set(sheet_ranks(100, [41, 43]))
    assert len(sheet_ranks(100, [41, 43])) == 8
    assert sheet_ranks(100, range(100)) == evenly(100, 8)
    assert sheet_ranks(3, [0, 2]) == [0, 1, 2]
    assert sheet_ranks(1, []) == [0]


def test_colours_tell_found_false_and_missed():
    predicted, truth = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    expected = np.array([[HIT, FALSE, MISSED, (0, 0, 0)]], np.uint8)
    np.testing.assert_array_equal(colour_mask(predicted, truth), expected)


def test_sheet_holds_the_masks_in_their_places(tmp_path: Path):
    truth = box(0, 0, 12, 6)
    worst = sample(tmp_path, "worst", truth, float=truth, integer=box(0, 6, 12, 12))
    best = sample(tmp_path, "best", truth, integer=truth, rtl=truth)
    sheet = draw_sheet([worst, best], [0, 1])
    left, right = TILE // 4, 3 * TILE // 4  # inside a tile: in the box, and beside it

    def pixel(row: int, column: int, x: int) -> tuple[int, ...]:
        y = LINE + row * (LINE + TILE + GAP) + LINE + TILE // 2
        return tuple(int(v) for v in sheet[y, GAP + column * (TILE + GAP) + x])

    assert pixel(0, 0, left) == (90, 90, 90)
    assert (pixel(0, 1, left), pixel(0, 1, right)) == (HIT, (0, 0, 0))
    assert pixel(0, 2, left) == HIT
    assert (pixel(0, 3, left), pixel(0, 3, right)) == (MISSED, FALSE)
    assert (pixel(1, 3, left), pixel(1, 3, right)) == (HIT, (0, 0, 0))
    assert pixel(1, 2, right) not in (HIT, (0, 0, 0))  # paper: there is no float mask
    assert len(COLUMNS) == 4


def test_caption_names_picture_figures_and_source(tmp_path: Path):
    truth = box(0, 0, 12, 6)
    one = sample(tmp_path, "polýp", truth, float=truth, integer=truth, rtl=truth)
    text = caption(one, 0, 9)
    assert text.startswith("1 of 9 (worst): pol?p.png")
    assert "float graph 1.000, integer reference 1.000, RTL 1.000" in text
    assert text.endswith("last column: RTL")
    assert text.isascii()
