"""Strict loading: what is accepted, what is dropped, what is refused."""

from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import torch

from fpga_gen_models import MODELS
from fpga_gen_models.checkpoint import (
    MSEG_DEAD_PREFIXES,
    load_checkpoint,
    load_state,
    read_state_dict,
    save_half,
)


@pytest.fixture(scope="module")
def mseg():
    torch.manual_seed(3)
    return MODELS["hardnet-mseg"].builder()


def test_full_published_checkpoint_of_a_parallel_run(mseg, tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in mseg.state_dict().items()}
    dead = ["ra4_conv1.conv.weight", "conv2.bn.bias", "conv6.weight", "hardnet.base.16.3.weight"]
    state |= {f"module.{key}": torch.zeros(2) for key in dead}
    torch.save({"state_dict": state, "epoch": 7}, tmp_path / "full.pth")
    model = MODELS["hardnet-mseg"].builder()
    report = load_checkpoint(model, tmp_path / "full.pth")
    assert report.ignored == tuple(sorted(dead))
    assert report.loaded == len(mseg.state_dict())
    for key, value in mseg.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def test_half_precision_file(mseg, tmp_path: Path) -> None:
    save_half(mseg.state_dict(), tmp_path / "half.pth")
    assert (tmp_path / "half.pth").stat().st_size < 36e6
    model = MODELS["hardnet-mseg"].builder()
    load_checkpoint(model, tmp_path / "half.pth")
    weight = model.state_dict()["agg1.conv4.conv.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, mseg.state_dict()["agg1.conv4.conv.weight"].half().float())


def test_old_files_without_batch_counters(mseg) -> None:
    state = {k: v for k, v in mseg.state_dict().items() if "num_batches" not in k}
    assert load_state(MODELS["hardnet-mseg"].builder(), state).loaded == len(state)


def test_every_fault_is_named_at_once(mseg) -> None:
    state = dict(mseg.state_dict())
    del state["agg1.conv5.bias"]
    state["agg1.conv6.weight"] = torch.zeros(1)  # dead only at top level
    state["hardnet.base.0.conv.weight"] = torch.zeros(32, 3, 5, 5)
    with pytest.raises(ValueError, match="does not fit HarDNetMSEG") as error:
        load_state(MODELS["hardnet-mseg"].builder(), state, MSEG_DEAD_PREFIXES)
    text = str(error.value)
    assert "missing (1): agg1.conv5.bias" in text
    assert "unexpected (1): agg1.conv6.weight" in text
    assert "hardnet.base.0.conv.weight is (32, 3, 5, 5), expected (32, 3, 3, 3)" in text


def test_a_classifier_accepts_no_dead_keys() -> None:
    model = MODELS["hardnet-39ds"].builder()
    state = dict(model.state_dict()) | {"conv2.bn.bias": torch.zeros(32)}
    with pytest.raises(ValueError, match=r"unexpected \(1\): conv2.bn.bias"):
        load_state(model, state)


def test_files_that_are_no_state_dict(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name in ("list.pth", "text.pth"):
        with pytest.raises(ValueError, match=name):
            read_state_dict(tmp_path / name)
