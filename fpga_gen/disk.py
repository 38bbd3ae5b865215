"""Files that are there whole or not at all: synced writes, replacement in one rename, locks.

Every byte goes through the functions of `os`, so that a test can interrupt each of them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LOCK_SECONDS = 120.0  # an update takes moments: who waits longer waits for a process that hangs
POLL_SECONDS = 0.02


class LockTimeout(OSError):
    """Another process kept a lock for too long."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__(
            errno.EAGAIN, f"in use by another process for more than {seconds:g} s", str(path)
        )


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes) -> None:
    """A new file, its content durable; OSError if there is one already."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folders(folder: Path) -> None:
    """The folder and those above it, their names durable."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path)
        sync_folder(path.parent)


def remove_tree(folder: Path) -> None:
    """Deletes a folder with all that is in it, or a file; links are not followed."""
    if folder.is_symlink() or not folder.is_dir():
        os.unlink(folder)
        return
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            os.unlink(entry.path)
    os.rmdir(folder)


def read_regular(path: Path, limit: int) -> bytes:
    """Content of a regular file. Nothing else is opened for long: a link, a pipe or a device would
    lead elsewhere, or block.

    Raises:
        OSError: no such file, not a regular one, or longer than `limit` bytes.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(handle, "rb") as stream:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = stream.read(limit + 1) if facts.st_size <= limit else b""
        if max(facts.st_size, len(data)) > limit:
            raise OSError(errno.EFBIG, f"longer than {limit:,} bytes", str(path))
        return data


def replace_file(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Writes or replaces one file in one rename; the folder must be there.

    content: the bytes, or a function that writes them. The temporary file has a fixed name and is
    locked, so that what a killed process leaves is taken over by the next one that writes `path`.
    A device or pipe is written to directly.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            _fill(stream, content)
        return
    part = path.with_name(f".{path.name}.part")
    handle = _lock_file(part)
    try:
        with open(handle, "wb", closefd=False) as stream:
            os.ftruncate(handle, 0)
            _fill(stream, content)
            stream.flush()
            os.fsync(handle)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    finally:
        os.close(handle)
    sync_folder(path.parent)


def _fill(stream: BinaryIO, content: bytes | Callable[[BinaryIO], object]) -> None:
    if isinstance(content, bytes):
        stream.write(content)
    else:
        content(stream)


@contextmanager
def locked(folder: Path, *, shared: bool = False, seconds: float | None = None) -> Iterator[None]:
    """Holds a lock on a folder: many readers, or one writer.

    The lock is on the folder itself, so no lock file is left behind, and it goes with the process.

    Raises:
        LockTimeout: another process holds it for longer than `seconds` (default `LOCK_SECONDS`).
        OSError: no such folder.
    """
    handle = _lock(folder, os.O_RDONLY | os.O_DIRECTORY, shared, seconds)
    try:
        yield
    finally:
        os.close(handle)


def _lock_file(path: Path) -> int:
    return _lock(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, False, None)


def _lock(path: Path, flags: int, shared: bool, seconds: float | None) -> int:
    """Handle of the locked file or folder that has this name once the lock is held."""
    seconds = LOCK_SECONDS if seconds is None else seconds
    end = time.monotonic() + seconds
    while True:
        handle = os.open(path, flags, 0o666)
        try:
            while not _try_lock(handle, shared):
                if time.monotonic() > end:
                    raise LockTimeout(path, seconds)
                time.sleep(POLL_SECONDS)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # renamed or deleted while this process waited


def _try_lock(handle: int, shared: bool) -> bool:
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync_folders(folders: Iterable[Path]) -> None:
    """Makes the names in several folders durable; those that are gone need it no more."""
    for folder in sorted(set(folders)):
        with suppress(FileNotFoundError):
            sync_folder(folder)
