"""Training of the segmentation network on generated data: one run, cut and resumed."""

import json
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import numpy as np
import torch
from PIL import Image

from fpga_gen_models.augment import normalise
from fpga_gen_models.checkpoint import load_checkpoint
from fpga_gen_models.data import find_pairs
from fpga_gen_models.evaluate import main as evaluate_main
from fpga_gen_models.export import write_onnx
from fpga_gen_models.hardnet_mseg import HarDNetMSEG
from fpga_gen_models.runstate import StopRequest
from fpga_gen_models.train import HELP, TrainConfig, Trainer, main, training_size
from fpga_gen_models.transform import randomise_batchnorm

CONFIG = TrainConfig(
    size=64, start_size=64, batch=2, steps=2, cache_size=64, precision="fp32", validation=0.3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of a bright disc on noise, with its mask."""
    root = tmp_path_factory.mktemp("data") / "discs"
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for n in range(12):
        y, x, radius = rng.integers(20, 44), rng.integers(20, 44), rng.integers(8, 18)
        mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        picture = rng.integers(0, 100, (64, 64, 3)) + 120 * mask[..., None]
        Image.fromarray(picture.astype(np.uint8)).save(root / "images" / f"p{n}.png")
        Image.fromarray((255 * mask).astype(np.uint8)).save(root / "masks" / f"p{n}.png")
    return root


def test_training_sizes() -> None:
    config = replace(CONFIG, size=352, start_size=256, steps=100)
    early = {training_size(config, 0.0, step) for step in range(40)}
    late = {training_size(config, 0.9, step) for step in range(40)}
    assert early == {192, 256, 320}
    assert late == {256, 352, 448}


def test_a_step_changes_the_weights_and_a_resumed_run_repeats(folder: Path, tmp_path: Path) -> None:
    pairs = find_pairs(folder)

    def trainer(name: str) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        return Trainer(CONFIG, pairs, tmp_path / name)

    whole = trainer("whole")
    whole.start(None, resume=False)
    before = whole.model.state_dict()["agg1.conv5.weight"].clone()
    whole.run(StopRequest())
    assert whole.step == 2
    assert not torch.equal(before, whole.model.state_dict()["agg1.conv5.weight"])

    cut = trainer("cut")
    cut.start(None, resume=False)
    cut.train_step()
    cut.save()
    resumed = trainer("cut")
    resumed.start(None, resume=True)
    assert resumed.step == 1
    resumed.run(StopRequest())
    for key, value in whole.model.state_dict().items():
        assert torch.allclose(resumed.model.state_dict()[key], value, atol=1e-6), key
    for key, value in whole.weights().items():
        assert torch.allclose(resumed.weights()[key], value, atol=1e-6), key


def test_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    options = "--steps 1 --size 64 --start-size 64 --batch 2 --scales 1 --cache-size 64"
    arguments = ["--data", str(folder), "--out", str(out), *options.split()]
    assert main([*arguments, "--validation", "0.3"]) == 0
    record = json.loads((out / "metrics.json").read_text())
    assert record["step"] == 1
    assert record["training_pictures"] + record["validation"]["all"]["images"] == 12
    assert json.loads((out / "config.json").read_text())["batch"] == 2
    load_checkpoint(HarDNetMSEG(), out / "final.pth")
    assert (out / "log.csv").read_text().startswith("step,minutes,rate,side,loss,dice\n")
    load_checkpoint(HarDNetMSEG(), out / "last.pth")  # a run's state serves as a checkpoint too

    evaluated = ["--checkpoint", str(out / "final.pth"), "--data", str(folder), "--size", "64"]
    capsys.readouterr()
    assert evaluate_main([*evaluated, "--split", "everything"]) == 0
    assert json.loads(capsys.readouterr().out)["discs"]["images"] == 12


def test_faulty_input_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "o"), "--steps", "1"]) == 1
    assert main(["--data", str(folder), "--out", str(tmp_path / "o")]) == 1
    assert capsys.readouterr().err.count("error:") == 2


def test_stop_request_ends_the_run(folder: Path, tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, find_pairs(folder), tmp_path)
    trainer.start(None, resume=False)
    stop = StopRequest()
    stop.asked = True
    trainer.run(stop)
    assert trainer.step == 0
    assert (tmp_path / "last.pth").exists()


def test_a_run_goes_on_from_an_exported_network(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = HarDNetMSEG()
    randomise_batchnorm(model, 64, 5)
    write_onnx(model, tmp_path / "model.onnx", 64, "dynamo", half=False)
    trainer = Trainer(CONFIG, find_pairs(folder), tmp_path)
    trainer.start(tmp_path / "model.onnx", resume=False)
    picture = normalise(trainer.data.images[:2])
    with torch.no_grad():
        expected, found = model.eval()(picture), trainer.model.eval()(picture)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    norm = next(m for m in trainer.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    with torch.no_grad():
        trainer.model.train()(normalise(trainer.data.images))
    assert norm.running_var is not None
    assert 0.5 < float(norm.running_var.mean() / norm.weight.square().mean()) < 2


def test_an_exported_network_of_another_kind_is_named(folder: Path, tmp_path: Path) -> None:
    from fpga_gen_models import MODELS

    write_onnx(MODELS["hardnet-39ds"].builder().eval(), tmp_path / "other.onnx", 64, "dynamo")
    (tmp_path / "text.onnx").write_text("no model")
    trainer = Trainer(CONFIG, find_pairs(folder), tmp_path)
    with pytest.raises(ValueError, match="does not hold the weights of HarDNetMSEG"):
        trainer.start(tmp_path / "other.onnx", resume=False)
    with pytest.raises(ValueError, match="not a readable ONNX file"):
        trainer.start(tmp_path / "text.onnx", resume=False)


def test_every_option_has_a_meaning() -> None:
    assert set(HELP) == {f.name for f in fields(TrainConfig)}
