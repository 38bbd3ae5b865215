"""A script without the packages of its extra says so in one line, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    "fpga_gen_models.train": "torch",
    "fpga_gen_models.train_classifier": "torch",
    "fpga_gen_models.train_pruned": "torch",
    "fpga_gen_models.qat": "torch",
    "fpga_gen_models.evaluate": "torch",
    "fpga_gen_host.live": "starlette",
}


@pytest.mark.parametrize(("script", "package"), SCRIPTS.items())
def test_a_missing_package_is_named(script: str, package: str, tmp_path: Path):
    error = f"raise ModuleNotFoundError('no {package}', name={package!r})\n"
    (tmp_path / f"{package}.py").write_text(error)
    folders = (tmp_path, ROOT, ROOT / "host", ROOT / "models")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-m", script, "--help"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"needs the package '{package}': pip install" in done.stderr


def test_imported_it_stays_an_import_error():
    from fpga_gen_models.needs import missing

    with pytest.raises(ModuleNotFoundError):
        missing(ModuleNotFoundError("no torch", name="torch"), "fpga_gen_models.train")
