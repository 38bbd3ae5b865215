"""Verilog of an engine; that of a build directory, with its Tcl, is what this version generates, or
nothing runs it.

A manifest proves that the files belong together, not that fpga-gen wrote them: `$system` in Verilog
reaches the simulator's C++, and Tcl is a program. So both are compared, byte for byte, with what
the parameters give. Generating the Verilog takes seconds, so it is remembered in the cache that
also holds the compiled simulators: whoever can write there needs no build directory to run code.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fpga_gen.builddir.artifacts import RTL, BuildDir, sha256, to_json
from fpga_gen.cache import cache_directory, keep, program_digest
from fpga_gen.contract.params import EngineParams
from fpga_gen.deploy.vivado_project import FOLDER, vivado_files
from fpga_gen.errors import BuildDirError
from fpga_gen.hardware.common.design_hash import stamp
from fpga_gen.hardware.top import generate_verilog
from fpga_gen.simulate.build import build_simulator

BRIEF = 50_000  # cycles of a frame that even a plain simulator is through with in seconds


def engine_verilog(params: EngineParams) -> dict[str, str]:
    """`hardware.top.generate_verilog`, from the cache if this program was there before."""
    record = _record(params)
    files = _read(record)
    if files is None:
        files = generate_verilog(params)
        _write(record, files)
    return files


def check_verilog(build: BuildDir) -> None:
    """BuildDirError names the first file of rtl/ that is not what this version generates."""
    expected = stamp(engine_verilog(build.params), build.design_hash)
    _compare(build, RTL, build.rtl(), {name: text.encode() for name, text in expected.items()})


def check_project(build: BuildDir) -> None:
    """Like `check_verilog`, but checks the folder vivado/ as well."""
    check_verilog(build)
    files = vivado_files(build.board, build.params, build.clock_mhz, build.rtl())
    expected = {name.removeprefix(f"{FOLDER}/"): data for name, data in files.items()}
    _compare(build, FOLDER, build.folder(FOLDER), expected)


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
    """Simulator of the checked Verilog of a build; from the cache if it is there. Optimised, unless
    a frame is over before a compiler that optimises."""
    check_verilog(build)
    optimise = 0 if build.layout.cycles < BRIEF else 2
    with unpacked(build, RTL) as folder:
        return build_simulator(sorted((folder / RTL).iterdir()), optimise=optimise)


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


def _record(params: EngineParams) -> Path:
    """Where the Verilog of an engine is remembered."""
    key = sha256(to_json([program_digest(), params.to_dict()]))
    return cache_directory() / "verilog" / key[:32]


def _read(record: Path) -> dict[str, str] | None:
    """What `_write` wrote; None if that is not there, or not whole."""
    try:
        digest, data = record.read_bytes().split(b"\n", 1)
        text = zlib.decompress(data)
    except (OSError, ValueError, zlib.error):
        return None
    return json.loads(text) if digest.decode("latin-1") == sha256(text) else None


def _write(record: Path, files: Mapping[str, str]) -> None:
    text = to_json(files)
    keep(record, sha256(text).encode() + b"\n" + zlib.compress(text, 1))
