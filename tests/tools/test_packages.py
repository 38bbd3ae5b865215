"""What a user without the repository installs does what the pages say, and is not larger than it
has to be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import board_files, built

__all__ = ["board_files", "built"]

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"## Without the repository\n.*?```console\n(.*?)```", re.S)


def packed(source: Path, kind: str, target: Path) -> Path:
    """The file that hatchling makes; kind: wheel or sdist."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = target.iterdir()
    return made


def test_the_source_distribution_makes_the_same_wheel(tmp_path: Path):
    archive = packed(ROOT, "sdist", tmp_path / "sdist")
    assert archive.stat().st_size < 2 << 20, "trained networks and tests stay in the repository"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("fpga_gen-*")
    contents = []
    for place in (source, ROOT):
        with zipfile.ZipFile(packed(place, "wheel", tmp_path / "wheels" / place.name)) as wheel:
            contents.append({n: wheel.read(n) for n in wheel.namelist() if "RECORD" not in n})
    assert contents[0] == contents[1]


def test_the_driver_alone_needs_numpy_and_pillow(built: Path, tmp_path: Path):
    """What it says of a build's host work, where neither fpga-gen nor pynq is installed."""
    with zipfile.ZipFile(packed(ROOT / "host", "wheel", tmp_path / "wheel")) as wheel:
        wheel.extractall(tmp_path / "site")
    for name in ("fpga_gen", "pynq"):
        (tmp_path / "site" / f"{name}.py").write_text("raise ImportError('not installed')\n")
    command = [sys.executable, "-m", "fpga_gen_host.benchmark", str(built)]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"prepare .*\d", done.stdout), done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_demo_from_a_wheel(tmp_path: Path):
    """The commands of the page in an empty folder; installing is unpacking here."""
    found = SECTION.search((ROOT / "docs" / "tutorial.md").read_text())
    assert found is not None
    commands = found[1].splitlines()
    assert [line.split()[0] for line in commands[:2]] == ["python3", "pip"]
    with zipfile.ZipFile(packed(ROOT, "wheel", tmp_path / "wheel")) as wheel:
        wheel.extractall(tmp_path / "site")
    program = tmp_path / "bin" / "fpga-gen"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fpga_gen "$@"\n')
    program.chmod(0o755)
    folder = tmp_path / "mine"
    folder.mkdir()
    shutil.copy(ROOT / "models" / "pretrained" / "hardnet-mseg.onnx", folder)
    path = os.pathsep.join(map(str, (program.parent, Path(sys.executable).parent)))
    environment = {
        **os.environ,
        "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path / "site"),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands[2:])],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "bit-exact: 129 maps equal the integer reference" in done.stdout
    assert (folder / "mask.png").stat().st_size > 1000
