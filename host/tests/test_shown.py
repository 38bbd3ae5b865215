"""What the live page is told of each kind of result."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fpga_gen_host.pictures import Preparation
from fpga_gen_host.shown import class_colours, describe, full_classes

STRETCH = Preparation("stretch", (0, 0, 0), (1, 1, 1), 0)
LETTERBOX = Preparation("letterbox", (0, 0, 0), (1, 1, 1), 0)
PICTURE = np.zeros((6, 8, 3), np.uint8)


def told(values: np.ndarray, how: Preparation = STRETCH, threshold: float = 0.0) -> dict:
    deployment = SimpleNamespace(output_names=("y",), preparation=how, threshold=threshold)
    return describe({"y": values}, deployment, PICTURE)


def pixels(found: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(bytes.fromhex(found["mask"]))))


def test_a_mask_of_logits_and_of_probabilities():
    logits = np.full((1, 1, 6, 8), -3.0, np.float32)
    logits[..., :4] = 3
    found = told(logits)
    assert found["share"] == 0.5
    assert found["confidence"] == pytest.approx(1 / (1 + np.exp(-3)))
    assert (pixels(found)[..., 3] > 0).sum() == 24
    assert told(logits / 6 + 0.5, threshold=0.5)["confidence"] == pytest.approx(1.0)
    assert told(np.full((1, 1, 6, 8), -1.0, np.float32))["confidence"] is None


def test_a_map_of_classes_from_scores_and_from_numbers():
    classes = np.zeros((3, 4), np.int64)
    classes[:, 3] = 2
    scores = np.eye(3, dtype=np.float32)[classes].transpose(2, 0, 1)[None]
    for values in (scores, classes[None], classes[None, None]):
        found = told(values)
        assert [(p["number"], p["share"]) for p in found["parts"]] == [(0, 0.75), (2, 0.25)]
        drawn = pixels(found)
        assert drawn.shape == (6, 8, 4)
        assert (drawn[0, 7, :3] == class_colours(np.array([2]))[0]).all()
        assert (drawn[0, 5, :3] == class_colours(np.array([0]))[0]).all()
    assert len({p["colour"] for p in found["parts"]}) == 2


def test_letterbox_bars_are_no_part_of_the_picture():
    classes = np.zeros((8, 8), int)
    classes[:1] = classes[-1:] = 7  # the bars of a picture of 6 x 8
    assert not full_classes(classes, (6, 8), LETTERBOX).any()


def test_classes_of_a_classifier():
    found = told(np.array([[0.0, 3.0, 1.0]]))["classes"]
    assert [c["number"] for c in found] == [1, 2, 0]
    assert sum(c["probability"] for c in found) == pytest.approx(1)
    assert told(np.array([[0.25, 0.5, 0.25]]))["classes"][0]["probability"] == 0.5
    assert len(told(np.zeros((1, 20, 1, 1)))["classes"]) == 5


def test_boxes_are_named_and_not_taken_for_classes():
    found = told(np.zeros((1, 84, 100), np.float32))
    assert found == {
        "note": "y: 1 x 84 x 100. This page draws masks and classes; boxes are yours to draw."
    }
