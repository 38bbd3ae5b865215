"""What a machine lacks is said in one line, with the packages that README.md names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import prerequisites
from tools.prerequisites import DEMO, TEST, missing

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "prerequisites.py"


def test_nothing_is_missing_here():
    assert missing(TEST) is None


def test_readme_names_the_same_packages():
    (line,) = re.findall(
        r"^sudo apt-get install ([^#\n]*)", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert set(line.split()) == {package for package, _, _ in TEST}


def test_all_that_is_missing_stands_in_one_line():
    absent = tuple((package, what, lambda: False) for package, what, _ in TEST)
    line = missing(absent)
    assert line is not None
    assert "\n" not in line
    assert line.endswith("apt-get install " + " ".join(package for package, _, _ in TEST))


@pytest.mark.parametrize(
    ("goal", "packages"), [("demo", "g++ make"), ("test", "g++ make perl tcl")]
)
def test_a_machine_without_programs(goal: str, packages: str, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, SCRIPT, goal], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.endswith(f"apt-get install {packages}\n")
    assert done.stderr.count("\n") == 1


def test_perl_without_its_modules_counts_as_missing(tmp_path: Path, monkeypatch):
    perl = tmp_path / "perl"
    perl.write_text('#!/bin/sh\necho "Can\'t locate FindBin.pm" >&2\nexit 2\n')
    perl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "perl" in (missing(TEST) or "")


def test_python_without_a_shared_library(monkeypatch, tmp_path: Path):
    values = {"INSTSONAME": "libpython0.so", "LIBDIR": str(tmp_path)}
    monkeypatch.setattr(prerequisites.sysconfig, "get_config_var", values.get)
    line = missing(TEST)
    assert line is not None
    assert line.endswith("apt-get install libpython3-dev")
    (tmp_path / "libpython0.so").touch()
    assert missing(TEST) is None


def test_python_without_ensurepip(monkeypatch):
    monkeypatch.setattr(prerequisites.importlib.util, "find_spec", lambda name: None)
    assert (missing(DEMO) or "").endswith("apt-get install python3-venv")


def test_no_test_run_begins_without_them(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_boards.py"],
        cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "missing: a C++ compiler, GNU make, Perl" in done.stdout + done.stderr
    assert "passed" not in done.stdout
