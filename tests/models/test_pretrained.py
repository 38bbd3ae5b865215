"""The dense network of the repository on drawn pictures: what the demo and the notebook show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from fpga_gen.images import NORMALISATIONS
from fpga_gen.phantom import draw_phantom

MODEL = Path(__file__).resolve().parents[2] / "models" / "pretrained" / "hardnet-mseg.onnx"

pytestmark = pytest.mark.skipif(not MODEL.exists(), reason="the network is not in this checkout")


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])


def found(session: onnxruntime.InferenceSession, picture: np.ndarray) -> np.ndarray:
    """The network's mask of a picture [H, W, 3], uint8."""
    mean, deviation = NORMALISATIONS["imagenet"]
    image = (picture / 255 - mean) / deviation
    (logits,) = session.run(None, {"image": image.astype(np.float32).transpose(2, 0, 1)[None]})
    return np.asarray(logits)[0, 0] > 0


@pytest.mark.parametrize("seed", [100, 102, 109])
def test_a_drawn_polyp_is_found_and_little_else(session, seed: int):
    picture, mask = draw_phantom(352, 352, seed)
    mine = found(session, picture)
    assert 2 * (mine & mask).sum() / (mine.sum() + mask.sum()) > 0.95
    assert (mine & ~mask).sum() < 500


def test_mucosa_without_a_polyp_is_left_alone(session):
    picture, _ = draw_phantom(352, 352, 304, polyp=False)
    assert found(session, picture).sum() < 200
