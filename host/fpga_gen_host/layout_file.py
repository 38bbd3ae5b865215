"""layout.json: all that a host needs to feed a program and read its results.

The build writes it, the simulation and the board read it, all through `LayoutFile`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from fpga_gen_host.decode import decode
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput
from fpga_gen_host.pictures import Preparation
from fpga_gen_host.regions import InputLayout, OutputLayout

VERSION = 2


@dataclass(frozen=True)
class RegionSizes:
    """Of what lies in memory."""

    program_bytes: int
    program_stream_words: int
    weights_bytes: int
    input_bytes: int
    output_bytes: int


@dataclass(frozen=True)
class StoredFormat:
    """Integers lo..hi of `bits` bits, of which `zero` stands for 0."""

    name: str
    bits: int
    zero: int
    lo: int
    hi: int


@dataclass(frozen=True)
class StoredTensor:
    """A map (C, H, W): real = scale * (stored - format.zero)."""

    name: str
    shape: tuple[int, int, int]
    scale: float
    format: StoredFormat


@dataclass(frozen=True)
class Tensors:
    """The maps at both ends of the network."""

    input: StoredTensor
    outputs: tuple[StoredTensor, ...]


@dataclass(frozen=True)
class PictureOptions:
    """A `Preparation`; normalise: name of its means and deviations in the compiler."""

    normalise: str
    fit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey: int

    @property
    def preparation(self) -> Preparation:
        return Preparation(self.fit, self.mean, self.std, self.grey)


@dataclass(frozen=True)
class LayoutFile:
    """The file. cycles: of a frame, by the model, which the driver limits to a multiple;
    instructions: (operation, layer) in the order of the hardware's log; results: see `Tail`."""

    regions: RegionSizes
    cycles: int
    input: InputLayout
    output: OutputLayout
    tensors: Tensors
    output_names: tuple[str, ...]
    host_input: HostInput
    host_ops: tuple[HostOp, ...]
    preprocess: PictureOptions
    instructions: tuple[tuple[str, str], ...] = ()
    results: tuple[str, ...] = ()
    version: int = VERSION

    def to_json(self) -> dict:
        """JSON-able form."""
        return asdict(self)

    @staticmethod
    def from_json(data: object) -> LayoutFile:
        """Inverse of `to_json`; ValueError names the field that is missing or wrong."""
        return decode(LayoutFile, data)
