"""The build directory: written whole or not at all, and checked before anything reads it.

`manifest.json` lists every other file with its size and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fpga_gen import __version__
from fpga_gen.errors import BuildDirError

MANIFEST = "manifest.json"
FORMAT = 2  # of the build directory itself


def sha256(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def to_json(data: object) -> bytes:
    """The one JSON spelling of build files: sorted keys, no NaN, newline at the end."""
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


@dataclass(frozen=True, eq=False)
class BuildDir:
    """A verified build directory. files: content by POSIX path relative to `path`, as verified;
    the manifest itself is not among them."""

    path: Path
    manifest: dict
    files: dict[str, bytes]

    def json(self, name: str) -> dict:
        """A verified JSON file; BuildDirError names it if it is no JSON object."""
        return _parse(self.path / name, self.files[name])

    def rtl(self) -> dict[str, str]:
        """Verilog sources by file name."""
        return {
            name.removeprefix("rtl/"): data.decode()
            for name, data in self.files.items()
            if name.startswith("rtl/")
        }


def _parse(path: Path, data: bytes) -> dict:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise BuildDirError(f"{path}: not valid JSON ({error}): build again") from error
    if not isinstance(value, dict):
        raise BuildDirError(f"{path}: not a JSON object: build again")
    return value


def _manifest(facts: dict, files: dict[str, bytes]) -> dict:
    listing = {n: {"bytes": len(d), "sha256": sha256(d)} for n, d in sorted(files.items())}
    tool = {"name": "fpga-gen", "version": __version__}
    return {**facts, "format": FORMAT, "tool": tool, "files": listing}


def check_target(path: Path) -> None:
    """BuildDirError unless `path` is free, empty, or a build directory that may be replaced."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BuildDirError(f"{path}: exists and is not a folder; choose another -o")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise BuildDirError(
            f"{path}: holds files that are not an fpga-gen build; choose another -o"
        )


def write_build(path: Path, files: dict[str, bytes], facts: dict) -> None:
    """Writes files and manifest into a sibling of `path` and renames it into place.

    An earlier build at `path` stays whole until the new one is complete. facts: further entries
    of the manifest. BuildDirError if the file system refuses.
    """
    check_target(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise BuildDirError(f"{path}: cannot be written: {error.strerror}") from error
    retired = fresh.with_name(fresh.name + ".old")
    try:
        fresh.chmod(0o755)
        for name, data in {**files, MANIFEST: to_json(_manifest(facts, files))}.items():
            target = fresh / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_synced(target, data)
        if path.is_dir():
            path.rename(retired)
        fresh.rename(path)
    except BaseException as error:
        if retired.exists() and not path.exists():
            retired.rename(path)
        shutil.rmtree(fresh, ignore_errors=True)
        if isinstance(error, OSError):
            raise BuildDirError(f"{path}: cannot be written: {error.strerror}") from error
        raise
    shutil.rmtree(retired, ignore_errors=True)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def load_build(path: Path) -> BuildDir:
    """Reads and verifies a build directory.

    BuildDirError names the file that is missing, changed, or written by another version.
    """
    manifest_path = path / MANIFEST
    try:
        manifest = _parse(manifest_path, manifest_path.read_bytes())
    except OSError as error:
        raise BuildDirError(
            f"{manifest_path}: cannot be read ({error.strerror}): {path} is not a build directory"
        ) from error
    if manifest.get("format") != FORMAT:
        raise BuildDirError(
            f"{manifest_path}: format {manifest.get('format')} of a build directory, this fpga-gen "
            f"reads {FORMAT}: build again"
        )
    tool = manifest.get("tool")
    version = tool.get("version") if isinstance(tool, dict) else None
    if version != __version__:
        raise BuildDirError(
            f"{manifest_path}: built by fpga-gen {version}, this is {__version__}: build again"
        )
    listing = manifest.get("files")
    if not isinstance(listing, dict):
        raise BuildDirError(f"{manifest_path}: lists no files: build again")
    files = {}
    for name, entry in listing.items():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or not isinstance(entry, dict):
            raise BuildDirError(f"{manifest_path}: bad entry {name!r}: build again")
        try:
            data = (path / name).read_bytes()
        except OSError as error:
            raise BuildDirError(
                f"{path / name}: cannot be read ({error.strerror}): build again"
            ) from error
        if sha256(data) != entry.get("sha256"):
            raise BuildDirError(f"{path / name}: differs from the manifest: build again")
        files[name] = data
    rtl = path / "rtl"
    stray = sorted(f.name for f in rtl.glob("*") if f"rtl/{f.name}" not in files)
    if stray:
        raise BuildDirError(f"{rtl / stray[0]}: not in the manifest: remove it or build again")
    return BuildDir(path, manifest, files)


def update_files(build: BuildDir, changed: dict[str, bytes]) -> BuildDir:
    """Replaces whole files of a verified build directory, the manifest last."""
    files = {**build.files, **changed}
    facts = {k: v for k, v in build.manifest.items() if k not in ("format", "tool", "files")}
    manifest = _manifest(facts, files)
    try:
        for name, data in {**changed, MANIFEST: to_json(manifest)}.items():
            (build.path / name).parent.mkdir(exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=build.path, prefix=".", delete=False) as stream:
                stream.write(data)
            os.chmod(stream.name, 0o644)
            os.replace(stream.name, build.path / name)
    except OSError as error:
        raise BuildDirError(f"{build.path}: cannot be written: {error.strerror}") from error
    return BuildDir(build.path, manifest, files)


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Files into a folder of the user; BuildDirError if the file system refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    except OSError as error:
        raise BuildDirError(f"{folder}: cannot be written: {error.strerror}") from error
