"""Comparison with the compiler's integer reference, bit for bit.

`fpga-gen reference DIR --images PICTURES` leaves one file per picture in DIR/reference: the stored
input and the stored outputs that the reference computes for it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpga_gen_host.accelerator import Accelerator
from fpga_gen_host.errors import DeployError

FOLDER = "reference"
INPUT, OUTPUT = "input", "output:"  # names of arrays: the input, and OUTPUT + tensor


@dataclass(frozen=True)
class Comparison:
    """One picture. values: stored outputs compared; different: how many are not equal."""

    name: str
    values: int
    different: int

    @property
    def bit_exact(self) -> bool:
        return self.different == 0


@dataclass(frozen=True, eq=False)
class ReferenceVector:
    """Stored input (C, H, W) and stored outputs by tensor name."""

    name: str
    stored: np.ndarray
    outputs: dict[str, np.ndarray]


def read_references(folder: str | Path) -> list[ReferenceVector]:
    """The reference vectors of a deploy folder, in order of name; empty if it has none.

    Raises:
        DeployError: a file is damaged.
    """
    vectors = []
    for path in sorted((Path(folder) / FOLDER).glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as data:
                outputs = {name[len(OUTPUT) :]: data[name] for name in data.files if OUTPUT in name}
                vectors.append(ReferenceVector(path.stem, data[INPUT], outputs))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DeployError(f"{path}: damaged ({error}): make it again") from error
    return vectors


def compare_with_reference(accelerator: Accelerator) -> Iterator[Comparison]:
    """Runs every reference vector of the accelerator's deploy folder.

    Raises:
        DeployError: a vector is not of this network.
    """
    folder = accelerator.deployment.path
    wanted = {t.name: t.shape for t in accelerator.deployment.output_tensors}
    for vector in read_references(folder):
        shapes = {name: values.shape for name, values in vector.outputs.items()}
        if shapes != wanted or vector.stored.shape != accelerator.deployment.input_tensor.shape:
            raise DeployError(
                f"{folder / FOLDER / vector.name}.npz: of another network: make it again"
            )
        found = accelerator.run_stored(vector.stored)
        different = sum(int((found[n] != v).sum()) for n, v in vector.outputs.items())
        yield Comparison(vector.name, sum(v.size for v in vector.outputs.values()), different)
