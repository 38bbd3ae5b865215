"""The tutorials do what they say: every code block of a page is run, in order."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fpga_gen
from fpga_gen.phantom import draw_phantom
from tests.docs.tutorials import Tutorial

PAGES = ("tutorial.md", "tutorial-classifier.md", "tutorial-unet.md", "tutorial-detector.md")
slow = [pytest.mark.slow, pytest.mark.timeout(7200)]
SHORT = {  # of own-data.md: what takes hours, or minutes of Verilator
    "--minutes 60": "--minutes 1 --size 96 --start-size 96 --batch 4 --cache-size 96",
    "-o model.onnx": "-o model.onnx --input-size 96",
    # The best engine for so small a picture has modes that `--array` cannot name.
    "build model.onnx --board kv260": "build model.onnx --board kv260 --array 8,16,16,8",
    " --rtl 1": "",
}


@pytest.mark.parametrize("page", [*PAGES, "own-data.md"])
def test_a_page_has_blocks(page: str):
    """A page whose blocks are not found would pass any test."""
    tutorial = Tutorial.of(page)
    assert {language for language, _ in tutorial.blocks} <= {"sh", "python"}
    assert any("fpga-gen build" in text for _, text in tutorial.blocks)


def test_a_failing_block_is_found(tmp_path: Path):
    tutorial = Tutorial("page", (("python", "x = 1\n"), ("python", "assert x == 2\n")), ())
    with pytest.raises(AssertionError, match="page: "):
        tutorial.run(tmp_path)
    with pytest.raises(AssertionError, match="page does not say: y"):
        tutorial.run(tmp_path, {"y": "z"})
    assert "1\n" in Tutorial("page", (("sh", "false || echo 1\n"),), ()).run(tmp_path)
    with pytest.raises(AssertionError):
        Tutorial("page", (("sh", "false\necho 1\n"),), ()).run(tmp_path)


@pytest.mark.parametrize("page", [pytest.param(page, marks=slow) for page in PAGES])
def test_tutorial(page: str, tmp_path: Path):
    """And the pictures of the page that it makes are made."""
    tutorial = Tutorial.of(page)
    print(tutorial.run(tmp_path))
    for name in tutorial.pictures:
        made = tmp_path / ("mask.png" if name == "demo.png" else name)
        assert made.stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: make .venv/.models"
)
def test_own_data(tmp_path: Path):
    """With forty drawings for pictures, and a minute of training where the page takes an hour."""
    for index in range(40):
        picture, mask = draw_phantom(96, 96, seed=index)
        for kind, pixels in (("images", picture), ("masks", mask.astype(np.uint8) * 255)):
            folder = tmp_path / "data" / kind
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index:04d}.png")
    print(Tutorial.of("own-data.md").run(tmp_path, SHORT))
    held_out = (tmp_path / "run" / "held-out.txt").read_text().split()
    for folder in ("out", "out-pruned", "out-qat"):
        found = json.loads((tmp_path / folder / "evaluation.json").read_text())
        assert sorted(p["image"] for p in found["pictures"]) == sorted(held_out)
    cycles = [fpga_gen.Build(tmp_path / name).estimate.cycles for name in ("out", "out-pruned")]
    assert cycles[1] < 0.65 * cycles[0]
    shutil.rmtree(tmp_path)
