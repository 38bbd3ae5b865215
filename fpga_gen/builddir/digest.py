"""Identity of an ONNX model: its file and the external data that belongs to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data


def model_sha256(path: Path) -> str:
    """Hex SHA-256 of the file; with external data, of the file's digest and those of the data
    files in order of name. The model must have passed import, which checks the locations."""
    own = hashlib.sha256(path.read_bytes())
    model = onnx.load(str(path), load_external_data=False)
    names = {
        entry.value
        for tensor in model.graph.initializer
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    if not names:
        return own.hexdigest()
    whole = hashlib.sha256(own.digest())
    for name in sorted(names):
        with (path.parent / name).open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()
