"""The wheel takes no name from its user, who may have a models/ of his own, and has the runtime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import fpga_gen
import fpga_gen_host

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
    assert names == {"fpga_gen", "fpga_gen_host", "fpga_gen_models"}
    assert (installed / "fpga_gen_host" / "engine.py").is_file()
    assert (installed / "fpga_gen" / "_boards" / "zcu104" / "board.toml").is_file()
    assert not list(installed.rglob("*.onnx")), "trained networks stay in the repository"


def test_a_runtime_of_another_version_is_named(installed: Path, tmp_path: Path):
    """fpga-gen-host, installed beside fpga-gen, takes the place of the runtime in its wheel."""
    shutil.copytree(installed, tmp_path / "site")
    runtime = tmp_path / "site" / "fpga_gen_host" / "__init__.py"
    runtime.write_text(runtime.read_text().replace(f'"{fpga_gen.__version__}"', '"0.0.7"'))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    message = (
        rf"fpga-gen {re.escape(fpga_gen.__version__)} finds fpga_gen_host 0\.0\.7 in \S+: "
        "uninstall fpga-gen-host and install fpga-gen again"
    )
    command = [sys.executable, "-m", "fpga_gen", "boards"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(f"fpga-gen: {message}\n", done.stderr), done.stderr
    done = subprocess.run(
        [sys.executable, "-c", "import fpga_gen.contract.isa"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert re.search(f"ImportError: {message}\n$", done.stderr), done.stderr


def test_an_editable_install_finds_every_package(tmp_path: Path):
    (name,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["editable"])
    wheel = zipfile.ZipFile(name)
    (listing,) = (n for n in wheel.namelist() if n.endswith(".pth"))
    folders = [Path(line) for line in wheel.read(listing).decode().splitlines()]
    for package in ("fpga_gen", "fpga_gen_host", "fpga_gen_models"):
        assert sum((folder / package / "__init__.py").is_file() for folder in folders) == 1


def test_both_distributions_have_one_version():
    assert fpga_gen_host.__version__ == fpga_gen.__version__


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
