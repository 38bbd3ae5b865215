"""Whether a model's path is one, told before anything large is imported."""

from __future__ import annotations

import os
from pathlib import Path

from fpga_gen.errors import UnsupportedModel


def check_model_file(path: Path) -> None:
    """UnsupportedModel if there is no such file."""
    if not os.path.exists(path):  # False for a name that is too long, of which Path raises
        raise UnsupportedModel(f"{path}: no such file; give the path of an ONNX model")
    if not os.path.isfile(path):
        raise UnsupportedModel(f"{path}: not a file; give the path of an ONNX model")
