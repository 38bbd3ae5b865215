"""Short campaigns of every kind; `make fuzz` runs long ones. Seed: FPGA_GEN_SEED."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import models, pictures
from tests.fuzz.campaign import Different, Tally, run

COUNT = int(os.environ.get("FPGA_GEN_ATTEMPTS", "150"))


def check(tally: Tally) -> None:
    print(tally)
    assert not tally.failures


def test_models(tmp_path: Path):
    """A third or more is refused, some are accepted and equal: the mutator is neither too wild nor
    too tame."""
    tally = run("models", COUNT, models.attempt, tmp_path)
    check(tally)
    assert tally.counts["refused"] > COUNT // 3
    assert tally.counts["equal"] > COUNT // 10


def test_pictures(tmp_path: Path):
    tally = run("pictures", 4 * COUNT, pictures.attempt, tmp_path)
    check(tally)
    assert min(tally.counts["refused"], tally.counts["read"]) > COUNT // 4


def test_the_judge_sees_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An importer that reads other weights than onnxruntime is found at once."""
    true = models.run_float

    def wrong(graph, image):
        return {name: value * np.float32(1.1) for name, value in true(graph, image).items()}

    monkeypatch.setattr(models, "run_float", wrong)
    tally = run("models", COUNT // 4, models.attempt, tmp_path)
    assert tally.counts["different"]
    assert tally.failures
    assert any(tmp_path.iterdir())  # the file is kept


def test_a_failure_is_counted_and_kept(tmp_path: Path):
    def attempt(rng, folder: Path) -> str:
        (folder / "file").write_text("x")
        if rng.random() < 0.5:
            raise Different("on purpose")
        return "equal"

    tally = run("none", 20, attempt, tmp_path, seed=1)
    assert tally.counts["different"] == len(tally.failures) == len(list(tmp_path.iterdir()))
    assert tally.counts["equal"] == 20 - len(tally.failures)
