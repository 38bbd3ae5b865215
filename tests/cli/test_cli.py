"""The promises of the command line: JSON, quiet, verbose, position of options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpga_gen.boards import board_names
from tests.cli.networks import write_model


@pytest.mark.parametrize("place", ["before", "after"])
def test_json_before_and_after_the_sub_command(cli, place: str):
    result = cli("--json", "boards") if place == "before" else cli("boards", "--json")
    assert result.code == 0
    names = [b["name"] for b in json.loads(result.out)]
    assert names == board_names()
    assert {"kv260", "tiny", "zcu104"} <= set(names)


def test_json_reaches_nested_commands(cli):
    names = [m["name"] for m in json.loads(cli("models", "--json", "list").out)]
    assert "hardnet-mseg" in names
    assert json.loads(cli("models", "list", "--json").out)[0]["input_size"] == 224


def test_quiet_prints_nothing(cli, model: Path):
    for arguments in (("boards",), ("check", model), ("estimate", model, "--board", "tiny")):
        result = cli(*arguments, "-q")
        assert (result.code, result.out, result.err) == (0, "", "")


def test_tables_are_not_cut_in_a_pipe(cli):
    assert "xczu7ev-ffvc1156-2-e" in cli("boards").out


def test_verbose_lists_the_steps(cli, model: Path):
    result = cli("-v", "estimate", model, "--board", "tiny")
    for step in ("import model", "foresee quantisation", "schedule"):
        assert step in result.err
    assert "second" in result.out  # the table of layers


def test_version_and_help(cli):
    assert "0." in cli("--version").out
    assert "simulate" in cli("--help").out


def test_check_lists_problems_as_json(cli, tmp_path: Path):
    path = write_model(tmp_path / "net.onnx", activation="Cos")
    result = cli("check", path, "--json")
    data = json.loads(result.out)
    assert result.code == 1
    assert data["supported"] is False
    assert data["problems"][0]["op"] == "Cos"


def test_estimate_counts_the_float_network(cli, model: Path):
    data = json.loads(cli("estimate", model, "--board", "tiny", "--json").out)
    macs = 144 * (6 * 3 * 9 + 6 * 6 * 9 + 12)
    assert data["model"]["macs"] == macs
    assert data["model"]["weights"] == macs // 144
    assert data["array"]["macs_per_cycle"] == 2 * 4 * 8
    cycles = data["estimate"]["cycles"]
    assert data["estimate"]["utilisation"] == pytest.approx(macs / (cycles * 64))
    assert data["estimate"]["fps"] == pytest.approx(300e6 / cycles)
    assert data["estimate"]["kind"] == "estimated"
    assert data["simulation"] is None
    assert {layer["name"] for layer in data["layers"]} >= {"first", "second", "head"}


def test_fixed8_is_the_array_without_sp2_columns(cli, model: Path):
    options = ("--board", "tiny", "--json", "--scheme", "fixed8")
    array = json.loads(cli("estimate", model, *options).out)["array"]
    assert array["out_channels"] == {"DSP": 8, "SP2": 0}


def test_clock_scales_the_frame_rate(cli, model: Path):
    def fps(*options: str) -> float:
        out = cli("estimate", model, "--board", "tiny", "--json", *options).out
        return json.loads(out)["estimate"]["fps"]

    assert fps("--clock-mhz", "150") == pytest.approx(fps() / 2)
