"""The deploy folder: read once, every file checked against the manifest before it is used."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fpga_gen_host import layout_file, regions, registers
from fpga_gen_host.digest import digest_of
from fpga_gen_host.errors import DeployError
from fpga_gen_host.host_ops import HostOp, mask_threshold, run_host_ops
from fpga_gen_host.layout_file import LayoutFile, RegionSizes, StoredTensor
from fpga_gen_host.model_input import HostInput, dequantise
from fpga_gen_host.pictures import Preparation
from fpga_gen_host.regions import InputLayout, OutputLayout

FOLDER_FORMAT = 2  # manifest.json "format"
FILES = ("program.bin", "weights.bin", "layout.json")


@dataclass(frozen=True)
class Tensor:
    """A stored map: real = scale * (stored - zero), stored within lo..hi, 8 or 16 bits."""

    name: str
    shape: tuple[int, int, int]
    scale: float
    bits: int
    zero: int
    lo: int
    hi: int


@dataclass(frozen=True, eq=False)
class Deployment:
    """A verified deploy folder.

    program, weights: bytes of the regions; design_hash: 64 bits; ports: AXI read ports;
    clock_hz: of the engine; double_clock: it has a second one, made in the programmable logic from
    the processor's; cycles: of a frame, by the build's model;
    instructions: (operation, layer) in the order in
    which the hardware logs them; bitstream: None if the folder holds none.
    """

    path: Path
    program: bytes = field(repr=False)
    weights: bytes = field(repr=False)
    design_hash: int
    ports: int
    clock_hz: float
    cycles: int
    input: InputLayout
    output: OutputLayout
    input_tensor: Tensor
    output_tensors: tuple[Tensor, ...]
    output_names: tuple[str, ...]
    host_input: HostInput
    host_ops: tuple[HostOp, ...]
    preparation: Preparation
    instructions: tuple[tuple[str, str], ...]
    bitstream: Path | None
    double_clock: bool = False
    results: tuple[str, ...] = ()

    @property
    def program_words(self) -> int:
        """Length of the program in stream words."""
        return len(self.program) // (16 * self.ports)

    @property
    def input_bytes(self) -> int:
        """Size of the input region."""
        return self.input.bytes

    @property
    def output_bytes(self) -> int:
        """Size of the output region."""
        return self.output.bytes

    @property
    def remedy(self) -> str:
        """What to do if the device holds another design."""
        return f"make the bitstream again: fpga-gen bitstream {self.path}"

    @property
    def model_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's input."""
        return self.host_input.model_shape

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of the model's own input, batch axis included."""
        return self.host_input.array_shape or (1, *self.host_input.model_shape)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the output tensors."""
        return tuple(t.name for t in self.output_tensors)

    def finish(self, stored: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Model outputs by name, in the model's shapes, float32 (argmax: int64).

        stored: integer maps (C, H, W) by tensor name.
        """
        real = {t.name: dequantise(stored[t.name], t.scale, t.zero) for t in self.output_tensors}
        return run_host_ops(self, real)

    @property
    def threshold(self) -> float:
        """Foreground of the first output lies above it, see `mask_threshold`."""
        return mask_threshold(self)


def load_deployment(folder: str | Path) -> Deployment:
    """Reads and checks a deploy folder.

    Raises:
        DeployError: names the file that is missing, changed or of another version.
    """
    path = Path(folder)
    manifest = _json(path / "manifest.json", _read(path / "manifest.json"))
    _same(path, "manifest.json", "format", manifest.get("format"), FOLDER_FORMAT)
    _same(
        path, "manifest.json", "register_map", manifest.get("register_map"),
        registers.INTERFACE_VERSION,
    )  # fmt: skip
    _check_identity(path, manifest)
    files = {name: _verified(path, name, manifest) for name in FILES}
    data = _json(path / "layout.json", files["layout.json"])
    _same(path, "layout.json", "version", data.get("version"), layout_file.VERSION)
    try:
        layout = LayoutFile.from_json(data)
        deployment = _build(path, manifest, layout, files)
    except (KeyError, TypeError, ValueError) as error:
        raise DeployError(
            f"{path}: incomplete ({type(error).__name__}: {error}): build again"
        ) from error
    _check_sizes(deployment, layout.regions)
    _check_host_ops(deployment)
    return deployment


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeployError(
            f"{path}: cannot be read ({error.strerror}): copy the whole build directory"
        ) from error


def _json(path: Path, data: bytes) -> dict:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise DeployError(f"{path}: not valid JSON ({error}): build again") from error
    if not isinstance(value, dict):
        raise DeployError(f"{path}: not a JSON object: build again")
    return value


def _same(path: Path, name: str, what: str, found: object, expected: int) -> None:
    if found != expected:
        raise DeployError(
            f"{path / name}: {what} {found}, this package reads {expected}: "
            "use the host package of the fpga-gen that built it"
        )


def own_identity() -> dict[str, str]:
    """Digests of the registers and regions of this package, as a manifest has them."""
    return {
        "registers": digest_of(registers.describe()),
        "regions": digest_of(regions.describe()),
    }


def _check_identity(path: Path, manifest: dict) -> None:
    identity = manifest.get("identity")
    for name, digest in own_identity().items():
        found = str(identity.get(name)) if isinstance(identity, dict) else "none"
        if found != digest:
            raise DeployError(
                f"{path / 'manifest.json'}: {name} {found[:16]}, this package has {digest[:16]}: "
                "use the host package of the fpga-gen that built it, or build again"
            )


def _verified(path: Path, name: str, manifest: dict) -> bytes:
    listing = manifest.get("files")
    entry = listing.get(name) if isinstance(listing, dict) else None
    if not isinstance(entry, dict):
        raise DeployError(f"{path / 'manifest.json'}: does not list {name}: build again")
    data = _read(path / name)
    if hashlib.sha256(data).hexdigest() != entry.get("sha256"):
        raise DeployError(
            f"{path / name}: differs from the manifest: it is damaged or from another build"
        )
    return data


def _bitstream(path: Path, manifest: dict) -> Path | None:
    """The only .bit of the folder, with its .hwh."""
    found = sorted(path.glob("*.bit"))
    if not found:
        return None
    if len(found) > 1:
        names = ", ".join(f.name for f in found)
        raise DeployError(f"{path}: several bitstreams ({names}): keep the one of this build")
    for file in (found[0], found[0].with_suffix(".hwh")):
        if not file.is_file():
            raise DeployError(f"{file}: missing: copy it from the Vivado project")
        if file.name in manifest["files"]:
            _verified(path, file.name, manifest)
    return found[0]


def _tensor(t: StoredTensor) -> Tensor:
    f = t.format
    return Tensor(t.name, t.shape, float(t.scale), f.bits, f.zero, f.lo, f.hi)


def _build(path: Path, manifest: dict, layout: LayoutFile, files: dict[str, bytes]) -> Deployment:
    tensors = tuple(_tensor(t) for t in layout.tensors.outputs)
    return Deployment(
        path=path,
        program=files["program.bin"],
        weights=files["weights.bin"],
        design_hash=int(manifest["design_hash"], 16),
        ports=int(manifest["parameters"]["ports"]),
        clock_hz=float(manifest["clock_mhz"]) * 1e6,
        cycles=layout.cycles,
        input=layout.input,
        output=layout.output,
        input_tensor=_tensor(layout.tensors.input),
        output_tensors=tensors,
        output_names=layout.output_names or tuple(t.name for t in tensors),
        host_input=layout.host_input,
        host_ops=layout.host_ops,
        preparation=layout.preprocess.preparation,
        instructions=layout.instructions,
        bitstream=_bitstream(path, manifest),
        double_clock=bool(manifest["parameters"].get("double_clock", False)),
        results=layout.results,
    )


def _check_sizes(deployment: Deployment, said: RegionSizes) -> None:
    """Program, weights and layouts belong to one engine."""
    path, sizes = deployment.path, {
        "program_bytes": len(deployment.program),
        "weights_bytes": len(deployment.weights),
        "input_bytes": deployment.input.bytes,
        "output_bytes": deployment.output.bytes,
    }  # fmt: skip
    for name, size in sizes.items():
        if getattr(said, name) != size:
            raise DeployError(f"{path}: {name} is {size}, layout.json says {getattr(said, name)}")
    if deployment.ports != deployment.input.ports:
        raise DeployError(
            f"{path}: manifest.json has {deployment.ports} ports, layout.json "
            f"{deployment.input.ports}: the files are of different builds"
        )
    if not deployment.program or len(deployment.program) % (16 * deployment.ports):
        raise DeployError(f"{path / 'program.bin'}: not whole stream words: build again")
    if len(deployment.output_names) != len(deployment.results or deployment.output_tensors):
        raise DeployError(f"{path / 'layout.json'}: names and outputs differ in number")


def _check_host_ops(deployment: Deployment) -> None:
    """The operators are known and fit the outputs: they are run on zeros."""
    try:
        deployment.finish({t.name: np.zeros(t.shape, np.int8) for t in deployment.output_tensors})
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DeployError(
            f"{deployment.path / 'layout.json'}: {error}: use the host package of the fpga-gen "
            "that built it"
        ) from error
