"""The package is light to import, and the registry builds what it says."""

import subprocess
import sys
from pathlib import Path

import pytest

import fpga_gen_models
from fpga_gen_models import MODELS


def test_importing_models_does_not_import_torch() -> None:
    code = "import sys, fpga_gen_models, fpga_gen_models.export; assert 'torch' not in sys.modules"
    folder = Path(fpga_gen_models.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)


def test_entries_are_complete() -> None:
    assert list(MODELS) == [
        "hardnet-39ds",
        "hardnet-68ds",
        "hardnet-68",
        "hardnet-85",
        "hardnet-mseg",
    ]
    for builder, size, description in MODELS.values():
        assert callable(builder)
        assert size % 32 == 0
        assert description


def test_unknown_names_and_sizes_are_refused() -> None:
    pytest.importorskip("torch")
    from fpga_gen_models.export import build_model

    with pytest.raises(KeyError, match="hardnet-mseg"):
        build_model("hardnet-99")
    with pytest.raises(ValueError, match="multiple of 32"):
        build_model("hardnet-39ds", input_size=100)
