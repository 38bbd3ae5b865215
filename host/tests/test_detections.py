"""Boxes, peaks and embeddings: what was put into the results of a network comes out again."""

from __future__ import annotations

import numpy as np
import pytest

from fpga_gen_host.centres import decode_centres
from fpga_gen_host.default_boxes import (
    SSD300,
    SSD512,
    VARIANCE,
    decode_boxes,
    draw_boxes,
)
from fpga_gen_host.errors import InputError


def centres(*, sides: bool = False) -> list[np.ndarray]:
    """Three classes on 20x30: peaks of logits 3 and 1, and one below its neighbour."""
    peaks = np.full((1, 3, 20, 30), -9.0, np.float32)
    peaks[0, 2, 5, 7], peaks[0, 0, 12, 20], peaks[0, 2, 6, 8] = 3, 1, 2
    sizes = np.zeros((1, 4 if sides else 2, 20, 30), np.float32)
    sizes[0, :, 5, 7] = (1, 2, 3, 4) if sides else (4, 6)
    sizes[0, :, 12, 20] = 2
    offsets = np.full((1, 2, 20, 30), 0.25, np.float32)
    embeddings = np.zeros((1, 5, 20, 30), np.float32)
    embeddings[0, 1, 5, 7], embeddings[0, 4, 12, 20] = 3, -2
    return [peaks, sizes, offsets, embeddings]


def test_centres() -> None:
    peaks, sizes, offsets, _ = centres()
    found = decode_centres(peaks, sizes, offsets)
    assert found.classes.tolist() == [2, 0]  # the third is no peak: its neighbour is larger
    assert found.scores == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-1))])
    assert found.boxes[0] == pytest.approx([4 * 5.25, 4 * 2.25, 4 * 9.25, 4 * 8.25])
    assert found.boxes[1] == pytest.approx([4 * 19.25, 4 * 11.25, 4 * 21.25, 4 * 13.25])
    assert found.embeddings is None
    assert len(decode_centres(peaks, sizes, offsets, most=1).scores) == 1
    assert decode_centres(peaks, sizes, offsets, least=0.9).classes.tolist() == [2]


def test_distances_to_the_sides_and_embeddings() -> None:
    found = decode_centres(*centres(sides=True), stride=8)
    assert found.boxes[0] == pytest.approx([8 * 6.25, 8 * 3.25, 8 * 10.25, 8 * 9.25])
    assert found.embeddings is not None
    assert found.embeddings[0].tolist() == [0, 1, 0, 0, 0]
    assert found.embeddings[1].tolist() == [0, 0, 0, 0, -1]


def test_centres_of_maps_that_do_not_belong_together() -> None:
    peaks, sizes, offsets, embeddings = centres()
    with pytest.raises(InputError, match="offsets have the shape"):
        decode_centres(peaks, sizes, offsets[:, :, 1:])
    with pytest.raises(InputError, match="2 or 4 channels"):
        decode_centres(peaks, embeddings, offsets)


@pytest.mark.parametrize(("defaults", "count"), [(SSD300, 11620), (SSD512, 32756)])
def test_default_boxes(defaults, count: int) -> None:
    """As many as the networks of fpga_gen_models.zoo have results; the first lies in the corner."""
    boxes = defaults.boxes()
    assert boxes.shape == (count, 4)
    assert boxes[0] == pytest.approx(
        [4 / defaults.size] * 2 + [defaults.sizes[0] / defaults.size] * 2
    )
    assert boxes.min() >= 0
    assert boxes.max() <= 1


def test_boxes() -> None:
    """Two boxes of one class that overlap become one; another class keeps its own."""
    defaults = SSD300.boxes()
    wanted = np.array([0.3, 0.4, 0.6, 0.8])  # corners
    centre, size = (wanted[:2] + wanted[2:]) / 2, wanted[2:] - wanted[:2]
    offsets = np.zeros((1, len(defaults), 4), np.float32)
    logits = np.zeros((1, len(defaults), 4), np.float32)
    logits[..., 0] = 9
    for number, kind, logit in ((2000, 2, 15.0), (2001, 2, 14.0), (2002, 3, 13.0)):
        box = defaults[number]
        offsets[0, number, :2] = (centre - box[:2]) / box[2:] / VARIANCE[0]
        offsets[0, number, 2:] = np.log(size / box[2:]) / VARIANCE[1]
        logits[0, number, kind] = logit
    found = decode_boxes(offsets, logits, defaults)
    assert found.classes.tolist() == [1, 2]
    assert found.boxes[0] == pytest.approx(wanted, abs=1e-5)
    assert found.boxes[1] == pytest.approx(wanted, abs=1e-5)
    assert found.scores[0] == pytest.approx(np.exp(15) / (np.exp(15) + np.exp(9) + 2), rel=1e-5)
    assert len(decode_boxes(offsets, logits, defaults, overlap=1.0).scores) == 3
    assert len(decode_boxes(offsets, logits, defaults, most=1).scores) == 1
    with pytest.raises(InputError, match="default boxes"):
        decode_boxes(offsets[:, 1:], logits, defaults)


def test_a_picture_is_drawn() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    drawn = draw_boxes(picture, np.array([[2.2, 3.0, 9.0, 50.0]]), (1, 2, 3))
    assert not picture.any()
    ys, xs = np.nonzero(drawn[..., 0])
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (2, 9, 3, 19)
    assert not drawn[4:19, 3:9].any()
