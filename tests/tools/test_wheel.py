"""The wheel takes no name from its user, who may have a models/ of his own."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def test_packages_of_the_wheel(installed: Path):
    names = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert names == {"fpga_gen", "fpga_gen_models"}
    assert (installed / "fpga_gen" / "_boards" / "zcu104" / "board.toml").is_file()
    assert not list(installed.rglob("*.onnx")), "trained networks stay in the repository"


@pytest.mark.parametrize("name", ["models", "tests", "boards", "tools"])
def test_a_folder_with_a_package_of_that_name(installed: Path, name: str, tmp_path: Path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise ImportError('the user's own package')\n")
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for arguments in (["models", "list", "--json"], ["evaluate", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "fpga_gen", *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-c", "import fpga_gen.evaluate.masks as masks; print(masks.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(installed)), done.stderr
