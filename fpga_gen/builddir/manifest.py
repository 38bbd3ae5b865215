"""manifest.json: which files of a build directory are fpga-gen's, and what was in them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fpga_gen import __version__
from fpga_gen.disk import read_regular
from fpga_gen.errors import BuildDirError

MANIFEST = "manifest.json"
FORMAT = 2  # of the build directory itself
TOOL = "fpga-gen"
MAX_FILE = 1 << 30  # bytes of one file of a build directory
MAX_JSON = 1 << 26
MAX_FILES = 100_000
MAX_NAME = 255  # bytes of a file's name on Linux
OWN_KEYS = ("format", "tool", "files")  # the rest are facts of the build


def sha256(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def to_json(data: object) -> bytes:
    """The one JSON spelling of build files: sorted keys, no NaN, newline at the end."""
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_json(path: Path, data: bytes) -> dict:
    """The object in a JSON file of at most `MAX_JSON` bytes; BuildDirError names the file."""
    try:
        if len(data) > MAX_JSON:
            raise ValueError(f"longer than {MAX_JSON:,} bytes")
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BuildDirError(f"{path}: not valid JSON ({error}): build again") from error
    if not isinstance(value, dict):
        raise BuildDirError(f"{path}: not a JSON object: build again")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


@dataclass(frozen=True)
class Entry:
    """One listed file. result: made by a later command than `build`; it may be deleted, and is
    verified when it is read."""

    bytes: int
    sha256: str
    result: bool = False

    @staticmethod
    def of(data: bytes, result: bool = False) -> Entry:
        return Entry(len(data), sha256(data), result)

    def to_dict(self) -> dict:
        plain = {"bytes": self.bytes, "sha256": self.sha256}
        return {**plain, "result": True} if self.result else plain


@dataclass(frozen=True)
class Manifest:
    """facts: everything but the list of files; version: of the fpga-gen that wrote it."""

    facts: dict
    files: dict[str, Entry]
    format: object = FORMAT
    version: object = __version__

    def to_dict(self) -> dict:
        listing = {name: entry.to_dict() for name, entry in sorted(self.files.items())}
        tool = {"name": TOOL, "version": self.version}
        return {**self.facts, "format": self.format, "tool": tool, "files": listing}

    def encode(self) -> bytes:
        return to_json(self.to_dict())


def parse_manifest(path: Path, data: bytes) -> Manifest:
    """The manifest in `data`, of any version; BuildDirError if it is none of fpga-gen's, or lists a
    file outside of its folder."""
    value = parse_json(path, data)
    tool, listing = value.get("tool"), value.get("files")
    if not isinstance(tool, dict) or tool.get("name") != TOOL:
        raise BuildDirError(f"{path}: not a manifest of fpga-gen: build again")
    if not isinstance(listing, dict) or len(listing) > MAX_FILES:
        raise BuildDirError(f"{path}: lists no files: build again")
    files = {name: _entry(path, name, entry) for name, entry in listing.items()}
    facts = {key: item for key, item in value.items() if key not in OWN_KEYS}
    return Manifest(facts, files, value.get("format"), tool.get("version"))


def _entry(path: Path, name: str, entry: object) -> Entry:
    if not is_plain_name(name) or not isinstance(entry, dict):
        raise BuildDirError(f"{path}: bad entry {name!r}: build again")
    size, digest, result = entry.get("bytes"), entry.get("sha256"), entry.get("result", False)
    if type(size) is not int or not 0 <= size <= MAX_FILE or not isinstance(digest, str):
        raise BuildDirError(f"{path}: bad entry {name!r}: build again")
    return Entry(size, digest, result is True)


def is_plain_name(name: str) -> bool:
    """Whether `name` is a POSIX path to a file below the folder, in its only spelling, of
    characters that can be shown, and none of those that the directory keeps for itself."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and "/".join(parts) == name
        and not {"..", "/"} & set(parts)
        and not parts[0].startswith(".")
        and name != MANIFEST
        and name.isprintable()
        and max(len(part.encode()) for part in parts) <= MAX_NAME
    )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; BuildDirError if it has none of fpga-gen's."""
    path = folder / MANIFEST
    try:
        data = read_regular(path, MAX_JSON)
    except OSError as error:
        raise BuildDirError(
            f"{path}: cannot be read ({error.strerror}): {folder} is not a build directory"
        ) from error
    return parse_manifest(path, data)


def read_owned(folder: Path) -> dict[str, Entry]:
    """Files of a folder that are fpga-gen's: what its manifest lists, nothing without one.

    BuildDirError if there is a manifest of something else."""
    return read_manifest(folder).files if os.path.lexists(folder / MANIFEST) else {}


def check_version(folder: Path, manifest: Manifest) -> None:
    """BuildDirError if another version of fpga-gen wrote it."""
    if manifest.format != FORMAT:
        raise BuildDirError(
            f"{folder / MANIFEST}: format {manifest.format} of a build directory, this fpga-gen "
            f"reads {FORMAT}: build again"
        )
    if manifest.version != __version__:
        raise BuildDirError(
            f"{folder / MANIFEST}: built by {TOOL} {manifest.version}, this is {__version__}: "
            "build again"
        )
