"""Accuracy end to end on generated data: float, quantised and RTL masks of drawn polyps.

Each bound is about twice what was measured when it was written; the figures are deterministic.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evaluate.segmenter import write_phantoms, write_segmenter

PICTURES = range(16)


@dataclass(frozen=True)
class Bound:
    """dice: largest loss of mDice; agreement: least share of pixels equal to the float mask."""

    dice: float
    agreement: float


BOUNDS = {
    "fixed8": Bound(0.005, 0.998),
    "mixed": Bound(0.01, 0.998),
    "sp2": Bound(0.01, 0.993),
    "msq4": Bound(0.04, 0.988),
}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, labelled pictures and, of other seeds, unlabelled ones for calibration."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_segmenter(folder)
    write_phantoms(folder, PICTURES)
    write_phantoms(folder / "calibration", range(200, 208))
    return folder


def evaluated(cli, folder: Path, target: Path, scheme: str, *more: object) -> dict:
    options = ("--board", "tiny", "--scheme", scheme, "-q")
    calibration = ("--calibration", folder / "calibration" / "images")
    result = cli("build", folder / "net.onnx", *options, *calibration, "-o", target)
    assert result.code == 0, result.err
    labels = ("--images", folder / "images", "--masks", folder / "masks")
    result = cli("evaluate", target, *labels, "--model", folder / "net.onnx", "--json", *more)
    assert result.code == 0, result.err
    return json.loads(result.out)["evaluation"]


def scores(data: dict) -> dict[str, dict]:
    return {s["source"]: s for s in data["accuracy"]["scores"] if s["images"] == len(PICTURES)}


@pytest.mark.parametrize(
    ("scheme", "rtl"),
    [
        ("fixed8", 0),
        ("mixed", 2),
        ("msq4", 0),
        pytest.param("sp2", 2, marks=pytest.mark.slow),  # an engine of its own to compile
        pytest.param("msq4", 2, marks=pytest.mark.slow),
    ],
)
def test_masks(cli, phantoms: Path, tmp_path: Path, scheme: str, rtl: int):
    data = evaluated(cli, phantoms, tmp_path / "out", scheme, "--rtl", rtl)
    found = scores(data)
    bound = BOUNDS[scheme]
    assert found["float"]["dice"] > 0.8  # the network is worth protecting
    assert found["integer"]["dice"] > found["float"]["dice"] - bound.dice
    assert found["integer"]["agreement_float"] > bound.agreement
    if not rtl:
        return
    assert data["accuracy"]["rtl_bit_exact"] is True
    some = {s["source"]: s for s in data["accuracy"]["scores"] if s["images"] == rtl}
    assert some["rtl"]["agreement_integer"] == 1.0
    assert some["rtl"]["dice"] == some["integer"]["dice"]
    assert some["rtl"]["dice"] > some["float"]["dice"] - 2 * bound.dice
    first = data["pictures"][0]
    assert first["image"] == data["accuracy"]["worst_image"]  # shown, and computed by the RTL
    assert first["bit_exact"] is True
