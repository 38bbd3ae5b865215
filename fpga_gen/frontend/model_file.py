"""Whether a model's path is one, told before anything large is imported."""

from __future__ import annotations

from pathlib import Path

from fpga_gen.errors import UnsupportedModel


def check_model_file(path: Path) -> None:
    """UnsupportedModel if there is no such file."""
    if not path.exists():
        raise UnsupportedModel(f"{path}: no such file; give the path of an ONNX model")
    if not path.is_file():
        raise UnsupportedModel(f"{path}: not a file; give the path of an ONNX model")
