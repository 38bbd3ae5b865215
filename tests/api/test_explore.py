"""Trials on two processes: one killed in the middle loses nothing; what is known stays known."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fpga_gen
from fpga_gen.api import explore as module
from fpga_gen.api.explore import FILE, Trial, TrialResult, pareto
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from tests.cli.conftest import Result, cli

__all__ = ["Result", "cli"]


def results(*figures: tuple[str, float, int]) -> list[TrialResult]:
    return [
        TrialResult(Trial(model, "b", "mixed", False, str(n)), fps=fps, luts=luts)
        for n, (model, fps, luts) in enumerate(figures)
    ]


def test_pareto_of_frame_rate_and_luts():
    found = results(("a", 10, 100), ("a", 20, 100), ("a", 5, 50), ("a", 4, 60), ("b", 1, 999))
    assert pareto(found) == {"1", "2", "4"}
    assert pareto([replace(found[1], refusal="too large"), found[0]]) == {"0"}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Trials are computed in this process, and noted."""
    asked: list[Trial] = []

    def computed(trials, output, workers, scheduler):
        for trial in trials:
            asked.append(trial)
            found = json.dumps(module.run_trial(trial, output / "builds"))
            yield trial, module.decode(TrialResult, json.loads(found))

    monkeypatch.setattr(module, "_computed", computed)
    return asked


def test_a_run_goes_on_where_it_was(model: Path, tmp_path: Path, alone: list[Trial]):
    first = fpga_gen.explore([model], ["Tiny"], output=tmp_path / "o")
    both = fpga_gen.explore([model], ["tiny", "tiny7"], output=tmp_path / "o")
    assert both[0] == first[0]
    assert [t.board for t in alone] == ["tiny", "tiny7"]
    assert both[0].fps == fpga_gen.estimate(model, board="tiny").estimate.fps
    lines = (tmp_path / "o" / FILE).read_text().splitlines()
    assert len(lines) == 2


def test_a_torn_last_line_is_computed_again(model: Path, tmp_path: Path, alone: list[Trial]):
    fpga_gen.explore([model], ["tiny", "tiny7"], output=tmp_path)
    book = tmp_path / FILE
    book.write_text(book.read_text()[:-40])
    again = fpga_gen.explore([model], ["tiny", "tiny7"], output=tmp_path)
    assert len(again) == 2
    assert [t.board for t in alone] == ["tiny", "tiny7", "tiny7"]
    assert fpga_gen.explore([model], ["tiny", "tiny7"], output=tmp_path) == again
    assert len(alone) == 3


def test_a_changed_model_is_another_trial(model: Path, tmp_path: Path, alone: list[Trial]):
    fpga_gen.explore([model], ["tiny"], output=tmp_path)
    model.write_bytes(model.read_bytes() + b"\x2a\x00")  # an empty field that ONNX ignores
    fpga_gen.explore([model], ["tiny"], output=tmp_path)
    assert len(alone) == 2


def test_wrong_arguments(model: Path, tmp_path: Path):
    for arguments, options, message in (
        (["none.onnx"], {}, "no such file"),
        ([model], {"schemes": ["int3"]}, "unknown scheme"),
        ([model], {"boards": ["tinny"]}, "did you mean tiny"),
    ):
        with pytest.raises(fpga_gen.FpgaGenError, match=message):
            fpga_gen.explore(arguments, output=tmp_path / "o", **options)
    assert not (tmp_path / "o" / FILE).exists()


def test_the_command_prints_a_table(cli, model: Path, tmp_path: Path, alone: list[Trial]):
    arguments = ("explore", model, "--boards", "tiny,tiny7", "-o", tmp_path)
    result = cli(*arguments)
    assert result.code == 0
    assert result.out.count("mixed") == 2
    assert "*" in result.out
    data = json.loads(cli(*arguments, "--json").out)
    assert [item["trial"]["board"] for item in data] == ["tiny", "tiny7"]
    assert len(alone) == 2


def test_pareto_of_accuracy_where_it_is_known():
    slow, fast = results(("a", 10, 100), ("a", 20, 100))
    assert pareto([replace(slow, dice=0.9), replace(fast, dice=0.8)]) == {"0", "1"}
    assert pareto([replace(slow, dice=0.8), replace(fast, dice=0.9)]) == {"1"}


@pytest.mark.parametrize("mapped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_builds_are_kept_and_simulated(
    model: Path, tmp_path: Path, alone: list[Trial], mapped: bool, monkeypatch: pytest.MonkeyPatch
):
    """Mapping an engine with Yosys takes minutes: without, it is noted that it was asked for."""
    synthesised: list[fpga_gen.Build] = []
    if not mapped:
        monkeypatch.setattr(fpga_gen.Build, "synth", lambda build: synthesised.append(build))
    (foreseen,) = fpga_gen.explore([model], ["tiny"], output=tmp_path)
    (built,) = fpga_gen.explore([model], ["tiny"], output=tmp_path, through="build")
    assert built.kind == "estimated"
    assert built.cycles == foreseen.cycles
    (found,) = fpga_gen.explore([model], ["tiny"], output=tmp_path, through="simulate")
    assert found.kind == "simulated"
    assert found.resources == "synthesised" if mapped else len(synthesised) == 1
    kept = fpga_gen.Build(found.directory)
    assert kept.report.simulation is not None
    assert kept.report.simulation.bit_exact
    assert kept.report.simulation.cycles == found.cycles
    assert Path(found.directory).parent == tmp_path / "builds"
    assert fpga_gen.explore([model], ["tiny"], output=tmp_path, through="simulate") == (found,)
    assert len(alone) == 3


def test_builds_are_evaluated_on_labelled_pictures(model: Path, tmp_path: Path, alone: list[Trial]):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for folder in (images, masks):
        folder.mkdir()
    for seed in range(2):
        picture, mask = draw_phantom(20, 24, seed)
        write_png(images / f"{seed}.png", picture)
        write_png(masks / f"{seed}.png", mask.astype(np.uint8) * 255)
    (found,) = fpga_gen.explore(
        [model], ["tiny"], output=tmp_path, through="build", images=images, masks=masks
    )
    scores = fpga_gen.Build(found.directory).evaluate(images, masks).accuracy.scores
    assert found.dice == next(s.dice for s in scores if s.source == "integer")
    for options in ({"images": images}, {"images": images, "masks": tmp_path / "none"}):
        with pytest.raises(fpga_gen.FpgaGenError, match=r"masks|no such folder"):
            fpga_gen.explore([model], ["tiny"], output=tmp_path, through="build", **options)
    with pytest.raises(fpga_gen.FpgaGenError, match="of builds alone"):
        fpga_gen.explore([model], ["tiny"], output=tmp_path, images=images, masks=masks)
    with pytest.raises(fpga_gen.FpgaGenError, match="unknown stage"):
        fpga_gen.explore([model], ["tiny"], output=tmp_path, through="bitstream")


def once_killed(trial: Trial, folder: Path) -> dict:
    """As `run_trial`, but the first worker that gets it dies."""
    mark = Path(trial.model).with_suffix(f".{trial.board}")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return module.asdict(TrialResult(trial, fps=1.0))


@pytest.mark.timeout(240)
def test_a_worker_killed_in_the_middle_loses_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "run_trial", once_killed)
    found = fpga_gen.explore([model], ["kv260", "zcu104"], output=tmp_path / "o", workers=2)
    assert [r.fps for r in found] == [1.0, 1.0]
    assert {p.suffix for p in tmp_path.iterdir()} >= {".kv260", ".zcu104"}
    assert len((tmp_path / "o" / FILE).read_text().splitlines()) == 2


def killed_on_one_board(trial: Trial, folder: Path) -> dict:
    """As `run_trial`, but no worker survives it for the ZCU104."""
    if trial.board == "zcu104":
        os.kill(os.getpid(), signal.SIGKILL)
    return module.asdict(TrialResult(trial, fps=1.0))


@pytest.mark.timeout(240)
def test_what_kills_every_worker_is_tried_again_in_the_next_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "run_trial", killed_on_one_board)
    found = fpga_gen.explore([model], ["kv260", "zcu104"], output=tmp_path, workers=2)
    assert found[0].fps == 1.0
    assert "workers died" in found[1].refusal
    assert len((tmp_path / FILE).read_text().splitlines()) == 1
    mended = lambda trial, folder: module.asdict(TrialResult(trial, fps=2.0))  # noqa: E731
    monkeypatch.setattr(module, "run_trial", mended)
    monkeypatch.setattr(
        module, "spread", lambda run, trials, *a, **k: ((t, run(t, *a)) for t in trials)
    )
    again = fpga_gen.explore([model], ["kv260", "zcu104"], output=tmp_path)
    assert [r.fps for r in again] == [1.0, 2.0]
