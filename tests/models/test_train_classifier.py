"""Training of a classifier on generated data."""

import itertools
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import numpy as np
import torch
from PIL import Image

from fpga_gen_models.image_classes import find_labelled, training_batches
from fpga_gen_models.runstate import StopRequest
from fpga_gen_models.train_classifier import ClassifierConfig, ClassifierTrainer, main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of tinted noise, six pictures each."""
    root = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for label in range(3):
        (root / f"class{label}").mkdir()
        for n in range(6):
            picture = rng.integers(0, 128, (48, 56, 3))
            picture[..., label] += 127
            file = root / f"class{label}" / f"{n}.png"
            Image.fromarray(picture.astype(np.uint8)).save(file)
    return root


def test_both_folder_layouts(folder: Path, tmp_path: Path) -> None:
    items = find_labelled(folder)
    assert [item.label for item in items] == [0] * 6 + [1] * 6 + [2] * 6
    (tmp_path / "labels.csv").write_text("file,index,name\na.jpg,7,dog\n")
    (only,) = find_labelled(tmp_path)
    assert (only.path.name, only.label) == ("a.jpg", 7)
    with pytest.raises(ValueError, match=r"no labels\.csv"):
        find_labelled(folder / "class0")


def test_batches_go_on_where_a_run_stopped(folder: Path) -> None:
    items = find_labelled(folder)
    whole = list(itertools.islice(training_batches(items, 32, 4, 0, 1, 0), 6))
    rest = list(itertools.islice(training_batches(items, 32, 4, 4, 1, 0), 2))
    for (images, labels), (again, labels_again) in zip(whole[4:], rest, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)
    assert not torch.equal(whole[0][0], whole[4][0])


def test_learning_and_resuming(folder: Path, tmp_path: Path) -> None:
    config = ClassifierConfig(
        "39ds", 3, 32, batch=4, rate=2.0, steps=3, precision="fp32", workers=0
    )
    items = find_labelled(folder)

    def trainer(name: str) -> ClassifierTrainer:
        (tmp_path / name).mkdir(exist_ok=True)
        return ClassifierTrainer(config, items, tmp_path / name)

    whole = trainer("whole")
    whole.start(None, resume=False)
    whole.run(StopRequest())
    assert whole.step == 3

    cut = trainer("cut")
    cut.start(None, resume=False)
    batches = training_batches(items, config.size, config.batch, 0, config.seed, 0)
    for _ in range(1):
        cut.train_step(*next(batches))
    cut.save()
    resumed = trainer("cut")
    resumed.start(None, resume=True)
    resumed.run(StopRequest())
    for key, value in whole.model.state_dict().items():
        assert torch.allclose(resumed.model.state_dict()[key], value, atol=1e-5), key


def test_command_line(folder: Path, tmp_path: Path) -> None:
    options = "--variant 39ds --classes 3 --size 32 --batch 4 --steps 1 --workers 0 --ema 0.9"
    arguments = ["--data", str(folder), "--validation", str(folder), "--out", str(tmp_path)]
    assert main([*arguments, *options.split()]) == 0
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["images"] == 18
    assert 0 <= record["top1"] <= record["top5"] == 1
    assert (tmp_path / "final.pth").exists()
    assert main([*arguments, "--classes", "2", "--steps", "1"]) == 1
