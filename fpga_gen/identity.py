"""Identity of a design by its content: what a program and an engine must agree on.

The design hash is a digest of the `Identity`, one digest for each ingredient: the Verilog, with 0
for the hash itself, the instruction set, the register table, the weight stream and the regions.
Each module that fixes one of them has a function `describe`. Whatever code decides is described by
examples that this very code makes.

The hash stands in the manifest of a build and in the HASH registers of its hardware; a program runs
only where both are equal. Needs no amaranth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fpga_gen.builddir.artifacts import BuildDir, load_build
from fpga_gen.contract import epilogue, isa, weight_stream
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import BuildDirError
from fpga_gen.hardware.common import design_hash
from fpga_gen_host import regions, registers
from fpga_gen_host.digest import digest_of


@dataclass(frozen=True)
class Identity:
    """Hex SHA-256 of every ingredient. instructions: instruction set and its records; registers:
    register table and error codes; streams: weight stream, parameter records and their codes;
    regions: maps in the input and the output region."""

    verilog: str
    instructions: str
    registers: str
    streams: str
    regions: str

    @property
    def design_hash(self) -> int:
        """64 bits; every bit of every ingredient counts."""
        return int(digest_of(asdict(self))[:16], 16)

    def to_dict(self) -> dict[str, str]:
        """JSON-able entry of the manifest."""
        return asdict(self)

    @staticmethod
    def from_dict(data: object) -> Identity:
        """Inverse of `to_dict`; ValueError if these are no digests of the ingredients."""
        names = {f.name for f in fields(Identity)}
        if (
            not isinstance(data, dict)
            or set(data) != names
            or not all(isinstance(digest, str) for digest in data.values())
        ):
            raise ValueError(f"identity: no digests of {', '.join(sorted(names))}")
        return Identity(**data)


def verilog_digest(files: Mapping[str, str]) -> str:
    """Digest of the .v files of an accelerator, whatever hash stands in them."""
    clean = design_hash.stamp(files, 0)
    return digest_of({name: text for name, text in clean.items() if name.endswith(".v")})


def identify(verilog: Mapping[str, str], params: EngineParams) -> Identity:
    """The identity of an engine with these Verilog files, as this compiler sees it."""
    return Identity(
        verilog=verilog_digest(verilog),
        instructions=digest_of([isa.describe(), epilogue.describe()]),
        registers=digest_of(registers.describe()),
        streams=digest_of(weight_stream.describe(params)),
        regions=digest_of(regions.describe()),
    )


def seal(verilog: Mapping[str, str], params: EngineParams) -> tuple[dict[str, str], Identity]:
    """The Verilog files with their design hash in place, and the identity that it is made of."""
    identity = identify(verilog, params)
    return design_hash.stamp(verilog, identity.design_hash), identity


def open_build(path: Path) -> BuildDir:
    """A verified build directory (see `load_build`) whose identity is true and whose instructions,
    registers, streams and regions are those of this compiler.

    Raises:
        BuildDirError: names what differs.
    """
    build = load_build(path)
    check_identity(build)
    return build


def check_identity(build: BuildDir) -> Identity:
    """The identity of a verified build directory; BuildDirError as `open_build`."""
    path, named = build.path, build.design_hash
    try:
        stored = Identity.from_dict(build.facts["identity"])
        rtl = {name: data.decode() for name, data in build.rtl().items()}
    except (KeyError, ValueError) as error:
        raise BuildDirError(f"{path}: incomplete build ({error}): build again") from error
    if named != stored.design_hash:
        raise BuildDirError(
            f"{path / 'manifest.json'}: names design hash {named:016x}, its ingredients make "
            f"{stored.design_hash:016x}: build again"
        )
    if rtl.get(design_hash.FILE) != design_hash.verilog(named):
        raise BuildDirError(
            f"{path / 'rtl' / design_hash.FILE}: does not hold the design hash {named:016x} of the "
            "manifest: build again"
        )
    own = identify(rtl, build.params)
    here = own.to_dict()
    differing = [
        f"{name} {digest[:16]}, here {here[name][:16]}"
        for name, digest in stored.to_dict().items()
        if digest != here[name]
    ]
    if differing:
        raise BuildDirError(
            f"{path}: the build of design hash {named:016x} does not fit this fpga-gen "
            f"({'; '.join(differing)}): build again, and make its bitstream again"
        )
    return stored
