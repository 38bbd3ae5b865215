"""`--explain`: the engines that automatic sizing compared, and how it ranked them."""

from __future__ import annotations

import json
from pathlib import Path


def test_the_engine_is_the_first_of_those_that_were_scheduled(cli, model: Path):
    shown = cli("estimate", model, "--board", "kv260", "--explain")
    assert shown.code == 0, shown.err
    assert "best engines for kv260" in shown.out
    result = cli("estimate", model, "--board", "kv260", "--explain", "--json")
    assert result.code == 0, result.err
    data = json.loads(result.out)
    engines = data["engines"]
    cycles = [e["scheduled_cycles"] for e in engines if e["scheduled_cycles"] is not None]
    assert cycles == sorted(cycles) == [e["scheduled_cycles"] for e in engines[: len(cycles)]]
    first = engines[0]["parameters"]
    assert data["array"]["pixels"] == first["pixels"]
    assert data["array"]["out_channels"]["SP2"] == first["sp2_columns"]


def test_a_given_array_is_not_compared(cli, model: Path):
    result = cli("estimate", model, "--board", "kv260", "--array", "8,16,16,6", "--explain")
    assert result.code == 0, result.err
    assert "no other engine was considered" in result.out


def test_double_clock_is_an_option_of_the_sizing(cli, model: Path):
    options = ("estimate", model, "--board", "zcu104", "--json")
    plain = json.loads(cli(*options).out)
    double = json.loads(cli(*options, "--double-clock").out)
    assert (plain["array"]["double_clock"], double["array"]["double_clock"]) == (False, True)
    assert double["array"]["out_channels"]["DSP"] % 4 == 0
    refused = cli("estimate", model, "--board", "zc706", "--double-clock")
    assert refused.code == 1
    assert "zc706: its DSP slices cannot run at twice the clock" in refused.err
