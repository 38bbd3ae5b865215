"""Training of the segmentation network on generated data: one run, cut and resumed."""

import json
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import numpy as np
import onnxruntime
import torch
from PIL import Image

from fpga_gen_models.augment import normalise
from fpga_gen_models.checkpoint import load_checkpoint
from fpga_gen_models.data import find_pairs, split_pairs
from fpga_gen_models.evaluate import main as evaluate_main
from fpga_gen_models.hardnet_mseg import HarDNetMSEG
from fpga_gen_models.runstate import StopRequest
from fpga_gen_models.train import Trainer, main, parse_arguments, training_size
from fpga_gen_models.train_config import HELP, TrainConfig, read_folders, run_config
from tests.cli.networks import write_model

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "pretrained" / "hardnet-mseg.onnx"
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
    held_out = (out / "held-out.txt").read_text().split()
    assert len(held_out) == record["validation"]["all"]["images"]
    assert all((folder / "images" / name).is_file() for name in held_out)
    load_checkpoint(HarDNetMSEG(), out / "final.pth")
    assert (out / "log.csv").read_text().startswith("step,minutes,rate,side,loss,dice\n")
    load_checkpoint(HarDNetMSEG(), out / "last.pth")  # a run's state serves as a checkpoint too
    assert json.loads((out / "config.json").read_text())["freeze_norms"] is False

    evaluated = ["--checkpoint", str(out / "final.pth"), "--data", str(folder), "--size", "64"]
    capsys.readouterr()
    assert evaluate_main([*evaluated, "--split", "everything"]) == 0
    assert json.loads(capsys.readouterr().out)["discs"]["images"] == 12


def test_frozen_norms_keep_their_statistics_and_zeros_train(folder: Path, tmp_path: Path) -> None:
    """So a pruned network becomes a dense one again, without statistics of few pictures."""
    pairs, changed = find_pairs(folder), {}
    for frozen in (True, False):
        trainer = Trainer(replace(CONFIG, freeze_norms=frozen, steps=1), pairs, tmp_path)
        with torch.no_grad():
            trainer.model.get_submodule("agg1.conv4.conv").weight[:, :48].zero_()
        trainer.start(None, resume=False)
        before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        trainer.run(StopRequest())
        after = trainer.model.state_dict()
        changed[frozen] = {k for k, v in before.items() if not torch.equal(v, after[k])}
        assert (after["agg1.conv4.conv.weight"] != 0).float().mean() > 0.9
        assert "agg1.conv_concat2.bn.weight" in changed[frozen]  # scales go on training
    statistics = {k for k in changed[False] if "running_" in k or "num_batches" in k}
    assert len(statistics) == 3 * sum(k.endswith("running_var") for k in before)
    assert not statistics & changed[True]


def test_development_pictures_are_neither_trained_on_nor_held_out(
    folder: Path, tmp_path: Path
) -> None:
    pairs = find_pairs(folder)
    plain = Trainer(CONFIG, pairs, tmp_path)
    assert set(plain.subset) <= set(plain.validation)
    trainer = Trainer(replace(CONFIG, development=0.4), pairs, tmp_path)
    assert trainer.validation == plain.validation
    assert trainer.subset
    parts = [trainer.validation, trainer.subset, trainer.data.pairs]
    assert sorted(p.image for part in parts for p in part) == [p.image for p in pairs]
    with pytest.raises(ValueError, match="no pictures are left for training or for development"):
        Trainer(replace(CONFIG, development=1.0), pairs, tmp_path)


def test_pictures_of_extra_folders_are_never_held_out(folder: Path) -> None:
    words = ["--out", "x", "--steps", "1", "--freeze-norms"]
    args = parse_arguments(["--data", str(folder), "--extra", str(folder), *words])
    assert run_config(args).freeze_norms
    pairs = read_folders(args)
    assert [p.training_only for p in pairs] == [False] * 12 + [True] * 12
    training, held_out = split_pairs(pairs, 0.3)
    assert held_out == split_pairs(find_pairs(folder), 0.3)[1]
    assert held_out
    assert len(training) == 24 - len(held_out)


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


def test_a_run_goes_on_from_the_shipped_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In eval mode the model computes what the file does; in training mode nearly so."""
    monkeypatch.setattr("fpga_gen_models.train.INIT_PICTURES", 1)
    trainer = Trainer(replace(CONFIG, cache_size=352), find_pairs(folder), tmp_path)
    trainer.start(SHIPPED, resume=False)
    picture = normalise(trainer.data.images[:1])
    session = onnxruntime.InferenceSession(SHIPPED, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"image": picture.numpy()})
    with torch.no_grad():
        found = trainer.model.eval()(picture).numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    norms = [m for m in trainer.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        assert norm.running_var is not None
        assert torch.allclose(norm.weight.square(), norm.running_var + norm.eps, rtol=1e-3)


def test_a_file_of_another_network_is_named(folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "other.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    trainer = Trainer(CONFIG, find_pairs(folder), tmp_path)
    with pytest.raises(ValueError, match="does not hold the weights of HarDNetMSEG"):
        trainer.start(tmp_path / "other.onnx", resume=False)
    with pytest.raises(ValueError, match="not a readable ONNX file"):
        trainer.start(tmp_path / "text.onnx", resume=False)


def test_every_option_has_a_meaning() -> None:
    assert set(HELP) == {f.name for f in fields(TrainConfig)}
