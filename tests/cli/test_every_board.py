"""`fpga-gen estimate --board all`."""

from __future__ import annotations

import json
from pathlib import Path

from fpga_gen.boards import board_names
from tests.cli.networks import write_model


def test_every_board_answers(cli, tmp_path: Path):
    """The tiny boards of the tests are among them; what does not fit one says why."""
    path = write_model(tmp_path / "net.onnx", size=384, channels=32)
    result = cli("estimate", path, "--board", "all", "--json")
    assert result.code == 0, result.err
    answers = {a["board"]: a for a in json.loads(result.out)}
    assert set(answers) == set(board_names())
    assert not answers["tiny"]["runs"]
    assert "even a row at a time" in answers["tiny"]["reason"]
    small, large = answers["pynq-z2"], answers["zcu104"]
    assert small["runs"]
    assert large["runs"]
    assert small["fps"] < large["fps"]
    moved = {
        n: a["dram_read_bytes"] + a["dram_write_bytes"] for n, a in answers.items() if a["runs"]
    }
    assert moved["pynq-z2"] > moved["zcu104"] > answers["zcu104"]["dram_lower_bound_bytes"]
    assert "MAC array does useful work" in small["limit"]


def test_the_table_names_them(cli, model: Path):
    result = cli("estimate", model, "--board", "all")
    assert result.code == 0
    assert all(name in result.out for name in board_names())


def test_a_board_is_refused_alone(cli, model: Path):
    result = cli("estimate", model, "--board", "all", "--clock-mhz", "250", "--json")
    assert result.code == 0
    reasons = {a["board"]: a.get("reason", "") for a in json.loads(result.out)}
    assert "outside 0..200 of zc706" in reasons["zc706"]
    assert not reasons["zcu104"]


def test_no_board_is_an_error(cli, model: Path):
    result = cli("estimate", model, "--board", "all", "--clock-mhz", "1000")
    assert result.code == 1
    assert "no board can run this model" in result.err
