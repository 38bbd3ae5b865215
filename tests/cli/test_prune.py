"""`fpga-gen prune` from model to model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.builddir.config import BuildConfig
from fpga_gen.frontend.importer import import_untrusted
from fpga_gen.graph.interpreter import run_float
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen.pipeline import BUILD, READ, Flow
from fpga_gen.pruning.flow import PruneFlow, name_engine
from fpga_gen.resources import estimate_resources
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.sizing.cycles import frame_cycles, frame_work
from fpga_gen.sizing.search import Candidate
from fpga_gen.steps import run_steps
from fpga_gen_models import int8_file
from tests.cli.networks import write_model

LATER = ("report", "generate Verilog", "write build directory")
ENGINE = ("--board", "zcu104", "--array", "8,16,24,18")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("prune") / "net.onnx", channels=48, size=96)


@pytest.fixture(scope="module")
def pictures(network: Path) -> Path:
    folder = network.parent / "pictures"
    folder.mkdir()
    for seed in range(3):
        write_png(folder / f"{seed}.png", draw_phantom(96, 96, seed)[0])
    return folder


def test_the_goal_is_met_and_the_network_kept(cli, network: Path, pictures: Path, tmp_path: Path):
    out = tmp_path / "less.onnx"
    common = (network, *ENGINE, "--calibration", pictures)
    result = cli("prune", *common, "--share", "0.9", "-o", out, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["cycles"] <= 0.9 * found["cycles_before"]
    assert 0 < found["zero_slots"] < found["slots"]
    # What a build of the new file takes is what was promised.
    config = BuildConfig(out, "zcu104", array=(8, 16, 24, 18), calibration=pictures)
    flow = Flow(config)
    run_steps(flow, [step for step in BUILD if step[0] not in ("Vivado project", *LATER)])
    cost = flow.schedule.estimate
    assert cost.cycles == pytest.approx(found["cycles"], rel=0.01)
    assert cost.skipped.left_out > 0
    image = draw_phantom(96, 96, 9)[0].transpose(2, 0, 1).astype(np.float32) / 128 - 1
    values = []
    for path in (network, out):
        graph = import_untrusted(path)
        values.append(run_float(graph, image)[graph.outputs[0]])
    assert 0 < np.abs(values[0] - values[1]).mean() < 0.6 * np.abs(values[0]).mean()


def test_frames_per_second_and_what_is_said(cli, network, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("prune", network, *ENGINE, "--calibration", pictures, "--fps", "1")
    assert result.code == 0, result.err  # it was fast enough
    assert (tmp_path / "net-pruned.onnx").exists()
    assert "0 of " in result.out
    assert "build it with --board zcu104 --array 8,16,24,18" in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give one goal"),
        (("--share", "0.5", "--fps", "9"), "give one goal"),
        (("--share", "0.5", "--no-zero-skipping"), "zeros save nothing"),
        (("--share", "0.5", "--explain"), "--explain is for build and estimate"),
    ],
)
def test_wrong_usage(cli, network: Path, pictures: Path, tmp_path: Path, options, message: str):
    out = tmp_path / "x.onnx"
    result = cli("prune", network, *ENGINE, "--calibration", pictures, *options, "-o", out)
    assert result.code == 2
    assert message in result.err
    assert not out.exists()


@pytest.mark.parametrize("goal", [("--share", "1.5"), ("--cycles", "0"), ("--fps", "inf")])
def test_goals_out_of_range(cli, network: Path, pictures: Path, tmp_path: Path, goal):
    result = cli("prune", network, *ENGINE, "--calibration", pictures, *goal, "-o", tmp_path / "x")
    assert result.code == 1
    assert "is out of range" in result.err


def test_without_pictures(cli, network: Path, tmp_path: Path):
    result = cli("prune", network, *ENGINE, "--share", "0.5", "-o", tmp_path / "x.onnx")
    assert result.code == 2
    assert "--calibration" in result.err


def test_a_goal_out_of_reach_leaves_the_file_alone(cli, network, pictures, tmp_path):
    out = tmp_path / "kept.onnx"
    out.write_bytes(b"mine")
    result = cli("prune", network, *ENGINE, "--calibration", pictures, "--cycles", "900", "-o", out)
    assert result.code == 1
    assert "900 cycles a frame were not reached" in result.err
    assert out.read_bytes() == b"mine"


def test_places_that_cannot_be_written_are_told_first(cli, network, pictures, tmp_path):
    common = ("prune", network, *ENGINE, "--calibration", pictures, "--share", "0.9", "-o")
    for place, reason in (
        (tmp_path, "is a folder"),
        (tmp_path / "nowhere" / "x.onnx", "its folder does not exist"),
        (network, "is the model itself"),
    ):
        before = network.read_bytes()
        result = cli(*common, place)
        assert result.code == 1
        assert reason in result.err
        assert network.read_bytes() == before


def test_the_engine_is_one_that_an_option_names(network: Path, pictures: Path):
    """Of what a search found, one too large for the memories of the board's own array is passed
    over."""
    config = BuildConfig(network, "zcu104", calibration=pictures)
    flow = PruneFlow(config)
    run_steps(flow, READ)
    own = flow.board.default_array("mixed", False)
    odd = replace(own, pixels=16, modes=(1, 4), dsp_columns=8, sp2_columns=0)
    less = replace(own, modes=(1, 3), dsp_columns=12, sp2_columns=6)
    for found, wanted in (((odd, less, own), less), ((odd,), own)):
        flow.candidates = tuple(
            Candidate(p, frame_cycles(frame_work(flow.graph), p, Timing()), estimate_resources(p))
            for p in found
        )
        name_engine(flow)
        assert flow.params.figures == wanted.figures
        assert flow.params.modes == wanted.modes


def test_int8_weights_are_no_floats_to_change(cli, network, pictures, tmp_path):
    small = tmp_path / "small.onnx"
    assert int8_file.main([str(network), str(small)]) == 0
    goal = ("--share", "0.5", "-o", tmp_path / "x.onnx")
    result = cli("prune", small, *ENGINE, "--calibration", pictures, *goal)
    assert result.code == 1
    assert "no layer has float weights of its own in the file" in result.err
