"""Training with slots that go: what the compiler counts, and zeros that stay."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch") is None:
    pytest.skip("needs torch", allow_module_level=True)

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from fpga_gen.builddir.config import BuildConfig
from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.images import NORMALISATIONS
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.sizing.standin import standin
from fpga_gen_models.augment import normalise
from fpga_gen_models.data import CachedPairs, find_pairs
from fpga_gen_models.hardnet_mseg import BasicConv2d
from fpga_gen_models.runstate import StopRequest
from fpga_gen_models.train_pruned import (
    Goal,
    PrunedTrainer,
    SlotPruner,
    main,
    measure_norms,
    read_graph,
)
from tests.cli.networks import write_model
from tests.models.test_train import CONFIG, folder  # noqa: F401

ARRAY = (8, 16, 24, 18)
GOAL = Goal("zcu104", ARRAY, double_clock=False, cycles=0)


def cycles_of(model: Path) -> int:
    """With maps of 8 bits, as the pruning counts them."""
    config = BuildConfig(model, "zcu104", array=ARRAY)
    board = config.load_board()
    params = config.resolve_params(board)
    graph = optimise(import_untrusted(model), NORMALISATIONS["imagenet"])
    rate = board.read_bytes_per_cycle(params.ports, config.resolve_clock(board))
    return compile_schedule(standin(graph, params), params, board_timing(rate)).estimate.cycles


def test_the_least_loss_goes_until_the_cycles_are_met(tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", channels=48, size=48)
    graph, nodes = read_graph(path, {"w1"})
    assert graph.nodes[nodes["w1"]].name == "second"
    masks = {"w1": torch.ones(48, 48, 3, 3, dtype=torch.bool)}
    pruner = SlotPruner(GOAL, path, graph, nodes)
    dense = pruner.see(masks)
    assert dense == cycles_of(path)
    pruner.regroup()
    products = torch.ones(48, 48, 9)
    products[:, :, 4] = 0.01  # what the middle tap does matters least
    pruner.accumulate({"w1": products})
    target = round(0.97 * dense)
    found = pruner.prune(masks, dense, target)
    assert 0.9 * dense < found <= target
    zeros = ~masks["w1"].flatten(2)
    assert zeros[:, :, 4].any()
    assert not zeros[:, :, [0, 1, 2, 3, 5, 6, 7, 8]].any()

    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if t.name == "w1")
    weight = numpy_helper.to_array(tensor) * masks["w1"].numpy()
    tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float32), "w1"))
    onnx.save(model, tmp_path / "pruned.onnx")
    assert cycles_of(tmp_path / "pruned.onnx") == found


def test_zeros_stay_and_become_more(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    pairs = find_pairs(folder)
    config = replace(CONFIG, steps=3, ema=0.5)
    goal = replace(GOAL, cycles=1)  # out of reach: a round takes what it may in its tries
    start = PrunedTrainer(config, pairs, tmp_path, [goal])
    name = "hardnet.base.14.layers.3.conv"
    state = start.model.state_dict()
    state[f"{name}.weight"][:, :32] = 0
    torch.save(state, tmp_path / "start.pth")

    first = PrunedTrainer(config, pairs, tmp_path, [replace(goal, cycles=10**9)], 1, 0.1)
    first.start(tmp_path / "start.pth", resume=False)
    assert first.round == 1  # the goal is met: no slot goes
    first.train_step()
    for weights in (first.model.state_dict(), first.weights()):
        assert not weights[f"{name}.weight"][:, :32].any()
        assert weights[f"{name}.weight"][:, 32:].all()
    reached = round(0.9 * first.cycles[0])
    first.save()

    second = PrunedTrainer(config, pairs, tmp_path, [replace(goal, cycles=reached)], 1, 0.1)
    second.start(None, resume=True)
    assert second.step == 1
    assert second.round == 0
    second.run(StopRequest())
    assert second.cycles[0] <= reached
    masks = second.masks
    assert not masks[name][:, :32].any()
    for weights in (second.model.state_dict(), second.weights()):
        for layer, mask in masks.items():
            assert not weights[f"{layer}.weight"][~mask].any(), layer


def test_norms_have_the_statistics_of_their_pictures(folder: Path) -> None:  # noqa: F811
    torch.manual_seed(1)
    model = BasicConv2d(3, 4, 1)
    pairs = find_pairs(folder)[:8]
    measure_norms(model, pairs, CONFIG, torch.device("cpu"))
    pictures = normalise(CachedPairs.load(pairs, CONFIG.size).images)
    with torch.no_grad():
        mean = model.conv(pictures).mean((0, 2, 3))
        assert torch.allclose(model.bn.running_mean, mean, atol=1e-5)
        assert torch.allclose(model(pictures).var((0, 2, 3)), torch.ones(4), atol=0.05)


def test_goals(capsys: pytest.CaptureFixture[str]) -> None:
    text = "zcu104:8,16,48,12:double=1000000"
    assert Goal.parse(text) == Goal("zcu104", (8, 16, 48, 12), True, 1_000_000)
    for text in ("zcu104:8,16,48,12:half=1", "zcu104:8,16=1", "zcu104:8,16,24,18"):
        with pytest.raises(SystemExit):
            main(["--goal", text])
        assert f"invalid parse value: '{text}'" in capsys.readouterr().err


def test_faulty_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "o"), "--steps", "1"]
    goal = ["--goal", "zcu104:8,16,24,18=1000", "--init", "start.pth"]
    assert main([*arguments, *goal]) == 1
    assert capsys.readouterr().err.count("error:") == 1
