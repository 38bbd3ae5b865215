"""The build directory: verified before anything reads it, changed whole or not at all.

`manifest.json` lists every file of fpga-gen's with its size and SHA-256. Other files may lie beside
them: they are never read, replaced or deleted.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from fpga_gen.boards import Board, load_board
from fpga_gen.builddir.manifest import (
    MANIFEST,
    Entry,
    Manifest,
    check_version,
    parse_json,
    read_manifest,
    read_owned,
    sha256,
    to_json,
)
from fpga_gen.builddir.regions import HostLayout, read_layout
from fpga_gen.builddir.update import STAGING, check_places, reading, replace_files, writing
from fpga_gen.contract.params import EngineParams
from fpga_gen.disk import make_folders, read_regular, replace_file
from fpga_gen.errors import BuildDirError, FpgaGenError
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.serialise import load_quant_graph
from fpga_gen.resources import check_fit
from fpga_gen_host.decode import decode

T = TypeVar("T")
RTL = "rtl"  # folder of the Verilog
MAX_RATE = 1e6  # MHz, bytes per cycle: far above any board's
BUILD_ID = "build_id"  # fact of the manifest: digest of all that `build` wrote


@dataclass(frozen=True, eq=False)
class BuildDir:
    """A verified build directory, whose bytes are never read a second time.

    files: content by POSIX path relative to `path`, as verified; the manifest itself is not among
    them, its other entries are `facts`. results: entries of what later commands added. What the
    files say is as untrusted as their origin: every property checks before it gives, and raises
    BuildDirError.
    """

    path: Path
    facts: dict
    files: dict[str, bytes]
    results: dict[str, Entry]

    # --- bytes -----------------------------------------------------------------------------
    def read(self, name: str) -> bytes:
        """A listed file; a result is read and verified now. BuildDirError if there is none."""
        if name in self.results:
            return _verified(self.path, name, self.results[name])
        if name not in self.files:
            raise BuildDirError(f"{self.path / name}: missing: build again")
        return self.files[name]

    def json(self, name: str) -> dict:
        """A listed JSON file; BuildDirError names it if it is no JSON object."""
        return parse_json(self.path / name, self.read(name))

    def rtl(self) -> dict[str, bytes]:
        """Verilog sources, and Verilator's control file, by file name."""
        return self.folder(RTL)

    def folder(self, name: str) -> dict[str, bytes]:
        """Files of one folder by their names in it; results apart."""
        prefix = f"{name}/"
        return {
            path.removeprefix(prefix): data
            for path, data in self.files.items()
            if path.startswith(prefix)
        }

    @property
    def program(self) -> bytes:
        """Region of the program."""
        return self.read("program.bin")

    @property
    def weights(self) -> bytes:
        """Region of the weights."""
        return self.read("weights.bin")

    # --- what they say ---------------------------------------------------------------------
    @cached_property
    def board(self) -> Board:
        """The board that the build is for."""
        with self._judging():
            return load_board(decode(_BoardFacts, self.facts["board"], "board").name)

    @cached_property
    def params(self) -> EngineParams:
        """The engine; it fits the board, so it is none that takes for ever to generate."""
        with self._judging():
            params = decode(EngineParams, self.facts["parameters"], "parameters")
            check_fit(self.board, params)
            return params

    @cached_property
    def clock_mhz(self) -> float:
        """Clock of the engine, one that the board allows."""
        clock = self._number("clock_mhz")
        with self._judging():
            self.board.check_clock(clock, self.params.double_clock)
        return clock

    @cached_property
    def memory_rate(self) -> float:
        """Bytes per cycle that the board's ports and DRAM sustain."""
        return self._number("memory_bytes_per_cycle")

    @cached_property
    def design_hash(self) -> int:
        """64-bit identity of the generated hardware."""
        with self._judging():
            text = self.facts["design_hash"]
            if not isinstance(text, str) or not re.fullmatch("[0-9a-f]{16}", text):
                raise ValueError(f"design_hash is {text!r}")
            return int(text, 16)

    @property
    def model_sha256(self) -> str:
        """Digest of the ONNX model, as `model_sha256` gives it."""
        with self._judging():
            return decode(_ModelFacts, self.facts["model"], "model").sha256

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """What the option --input-shape said."""
        with self._judging():
            return decode(_Shape, {"input_shape": self.facts["config"]["input_shape"]}).input_shape

    @property
    def zero_skipping(self) -> bool:
        """What the option --zero-skipping said."""
        with self._judging():
            chosen = self.facts["config"]["zero_skipping"]
            return decode(_Skipping, {"zero_skipping": chosen}).zero_skipping

    @cached_property
    def network(self) -> QuantGraph:
        """The quantised network."""
        return load_quant_graph(self.read("quantised.npz"), self.path / "quantised.npz")

    @cached_property
    def layout(self) -> HostLayout:
        """Regions of the network's input and outputs, preparation of pictures."""
        with self._judging():
            return read_layout(self.json("layout.json"), self.network)

    def _number(self, name: str) -> float:
        with self._judging():
            value = self.facts[name]
            if type(value) not in (int, float) or not 0 < value < MAX_RATE:
                raise ValueError(f"{name} is {value!r}")
            return float(value)

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """What is wrong with the content becomes a BuildDirError of this directory."""
        try:
            yield
        except BuildDirError:
            raise
        except (KeyError, TypeError, ValueError, FpgaGenError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise BuildDirError(f"{self.path}: incomplete build ({what}): build again") from error


@dataclass(frozen=True)
class _ModelFacts:
    """Entry `model` of the manifest."""

    name: str
    sha256: str


@dataclass(frozen=True)
class _Shape:
    """What is read here of the manifest's entry `config`."""

    input_shape: tuple[int, ...] | None


@dataclass(frozen=True)
class _Skipping:
    """What else is read of it."""

    zero_skipping: bool


@dataclass(frozen=True)
class _BoardFacts:
    """Entry `board` of the manifest. sha256: of its description when the build was made."""

    name: str
    sha256: str = ""


# --- reading --------------------------------------------------------------------------------


def load_build(path: Path) -> BuildDir:
    """Reads and verifies a build directory, having finished or undone an interrupted update of it.

    BuildDirError names the file that is missing, changed, or written by another version.
    """
    return _read(path, _load)


def check_build(path: Path) -> None:
    """BuildDirError if a folder has no readable manifest; its files are not looked at."""
    _read(path, read_manifest)


def _read(path: Path, how: Callable[[Path], T]) -> T:
    try:
        with reading(path):
            return how(path)
    except OSError as error:
        raise BuildDirError(
            f"{path}: cannot be read ({error.strerror}): not a build directory"
        ) from error


def _load(path: Path) -> BuildDir:
    manifest = read_manifest(path)
    check_version(path, manifest)
    files = {n: _verified(path, n, e) for n, e in manifest.files.items() if not e.result}
    _check_rtl(path, manifest.files)
    return BuildDir(path, manifest.facts, files, _results(manifest))


def _results(manifest: Manifest) -> dict[str, Entry]:
    return {name: entry for name, entry in manifest.files.items() if entry.result}


def _verified(path: Path, name: str, entry: Entry) -> bytes:
    try:
        data = read_regular(path / name, entry.bytes)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise BuildDirError(
                f"{path / name}: cannot be read ({error.strerror}): build again"
            ) from error
        data = None
    if data is None or Entry.of(data, entry.result) != entry:
        raise BuildDirError(f"{path / name}: differs from the manifest: build again")
    return data


def _check_rtl(path: Path, owned: Mapping[str, Entry]) -> None:
    """BuildDirError for a file among the Verilog that is not of the build."""
    folder = path / RTL
    stray = sorted(f.name for f in folder.glob("*") if f"{RTL}/{f.name}" not in owned)
    if stray:
        raise BuildDirError(f"{folder / stray[0]}: not in the manifest: move it away")


# --- writing --------------------------------------------------------------------------------


def check_target(path: Path) -> tuple[str, ...]:
    """Names of what lies in `path`, a place for a build directory, and is to stay there.

    BuildDirError unless the path is free and can be made, an empty folder, or a build directory of
    any version.
    """
    if not os.path.lexists(path):
        above = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise BuildDirError(f"{path}: cannot be made in {above}; choose another -o")
        return ()
    if not path.is_dir():
        raise BuildDirError(f"{path}: exists and is not a folder; choose another -o")
    try:
        with reading(path):
            return _kept(path)
    except OSError as error:
        raise BuildDirError(f"{path}: cannot be read: {error.strerror}") from error


def _kept(path: Path) -> tuple[str, ...]:
    """Does the work of `check_target`; the folder is locked."""
    found = {item.name for item in path.iterdir()} - {STAGING}
    if found and MANIFEST not in found:
        raise BuildDirError(
            f"{path}: holds files that are not an fpga-gen build; choose another -o"
        )
    try:
        owned = read_owned(path)
    except BuildDirError as error:
        reason = str(error).removesuffix(": build again")
        raise BuildDirError(f"{reason}; choose another -o, or move that file away") from error
    _check_rtl(path, owned)
    return tuple(sorted(found - {MANIFEST} - {name.partition("/")[0] for name in owned}))


def write_build(path: Path, files: dict[str, bytes], facts: dict) -> tuple[str, ...]:
    """Makes `path` the build directory of these files, whole or not at all.

    Files of an earlier build there go; what is not fpga-gen's stays, and its names are returned.
    facts: further entries of the manifest. BuildDirError if that cannot be done.
    """
    listing = {name: Entry.of(data) for name, data in files.items()}
    plain = {name: entry.to_dict() for name, entry in listing.items()}
    identity = sha256(to_json([facts, plain]))
    check_target(path)
    try:
        make_folders(path)
        with writing(path):
            kept = _kept(path)
            replace_files(path, files, Manifest({**facts, BUILD_ID: identity}, listing))
    except OSError as error:
        raise BuildDirError(f"{path}: cannot be written: {error.strerror}") from error
    return kept


def update_build(
    build: BuildDir,
    change: Callable[[BuildDir], dict[str, bytes]],
    results: Mapping[str, bytes] = {},
) -> BuildDir:
    """Replaces files of a build directory and adds results, all at once.

    change: gives the files to replace, from the directory as it is now, which another command may
    have updated since `build` was read. BuildDirError if it was rebuilt.
    """
    path = build.path
    try:
        with writing(path):
            fresh = _load(path)
            if fresh.facts.get(BUILD_ID) != build.facts.get(BUILD_ID):
                raise BuildDirError(
                    f"{path}: was built anew in the meantime: run the command again"
                )
            changed = change(fresh)
            files = {**fresh.files, **changed}
            added = {name: Entry.of(data, result=True) for name, data in results.items()}
            kept = {n: e for n, e in fresh.results.items() if (path / n).exists()}
            listing = {name: Entry.of(data) for name, data in files.items()}
            manifest = Manifest(fresh.facts, {**listing, **kept, **added})
            replace_files(path, {**changed, **results}, manifest)
    except OSError as error:
        raise BuildDirError(f"{path}: cannot be written: {error.strerror}") from error
    return BuildDir(path, fresh.facts, files, _results(manifest))


def check_room(build: BuildDir, names: Iterable[str]) -> None:
    """BuildDirError if a file that is not fpga-gen's has one of these names of results."""
    check_places(build.path, names, {*build.files, *build.results}, lambda name: b"")


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Files into a folder of the user, each whole; BuildDirError if the file system refuses."""
    try:
        make_folders(folder)
        for name, data in files.items():
            replace_file(folder / name, data)
    except OSError as error:
        raise BuildDirError(f"{folder}: cannot be written: {error.strerror}") from error
