"""A build directory of a compiler with another instruction table: every command refuses it in one
line, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from tests.test_identity import wider_header

COMMANDS = {
    "simulate": ("--image", "{pictures}/0.png"),
    "board": (),
    "evaluate": ("--images", "{pictures}", "--masks", "{masks}"),
    "bitstream": (),
    "synth": (),
    "reference": ("--images", "{pictures}"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_refused(command: str, cli, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if command == "board":
        pytest.importorskip("pynq")
    for folder in ("pictures", "masks"):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / "0.png", draw_phantom(24, 30)[0])
    wider_header(monkeypatch)
    before = {p: p.stat().st_mtime_ns for p in built.rglob("*")}
    options = (
        text.format(pictures=tmp_path / "pictures", masks=tmp_path / "masks")
        for text in COMMANDS[command]
    )
    result = cli(command, built, *options)
    named = json.loads((built / "manifest.json").read_text())["design_hash"]
    assert result.code == 1
    (line,) = result.err.strip().splitlines()
    assert f"design hash {named} does not fit this fpga-gen (instructions " in line
    assert "build again" in line
    assert {p: p.stat().st_mtime_ns for p in built.rglob("*")} == before
