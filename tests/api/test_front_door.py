"""`import fpga_gen` is quick and offers what its docstring says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import fpga_gen

HEAVY = ("amaranth", "numpy", "onnx", "ortools", "scipy", "torch", "vl_convert")


def loaded_by(code: str) -> set[str]:
    """Heavy packages in memory after `code` in a fresh process."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1])) & set(HEAVY)


def test_importing_it_loads_nothing_heavy():
    assert loaded_by("import fpga_gen; dir(fpga_gen)") == set()


def test_a_wrong_path_is_told_before_anything_heavy_is_loaded():
    code = """
import fpga_gen
for call in (fpga_gen.build, fpga_gen.estimate, fpga_gen.check):
    try:
        call("nowhere.onnx", board="kv260")
    except fpga_gen.FpgaGenError as error:
        assert "nowhere.onnx" in str(error)
    else:
        raise AssertionError(call)
"""
    assert loaded_by(code) <= {"numpy"}


def test_an_estimate_needs_no_amaranth():
    assert "amaranth" not in loaded_by("import fpga_gen; fpga_gen.estimate, fpga_gen.check")


@pytest.mark.parametrize("name", fpga_gen.__all__)
def test_every_name_is_there_and_documented(name: str):
    assert name in dir(fpga_gen)
    assert getattr(fpga_gen, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'fpga_gen' has no attribute 'bild'"):
        fpga_gen.bild  # noqa: B018
