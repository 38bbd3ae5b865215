"""Updates of a build directory that happen whole or not at all, whenever a process is killed.

New files are written into the folder STAGING of the directory, the new manifest last. Its rename
to its final name there is the moment at which the update counts: before it the next command throws
the folder away, from then on it moves the files to their places, the manifest last, and the folder
goes. Files that no manifest lists are never touched. Decision 0020.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from fpga_gen.builddir.manifest import (
    MANIFEST,
    MAX_FILE,
    Entry,
    Manifest,
    read_manifest,
    read_owned,
    sha256,
)
from fpga_gen.disk import (
    LockTimeout,
    locked,
    make_folders,
    read_regular,
    remove_tree,
    sync_folder,
    sync_folders,
    write_synced,
)
from fpga_gen.errors import BuildDirError

STAGING = ".fpga-gen"
NEW = "new"  # the files, in STAGING
# What reading says of a file that is not the one that was listed: gone, another kind, longer.
ANOTHER = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EACCES),
    *(errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.EFBIG),
)
UNCOUNTED = "manifest.part"  # the manifest, in STAGING, until it is complete


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """The folder cannot change; what an interrupted command left is finished or gone.

    Raises:
        OSError: no such folder.
        BuildDirError: another process holds it, or what was left cannot be finished.
    """
    with _holding(folder, shared=True):
        if not os.path.lexists(folder / STAGING):
            yield
            return
    with writing(folder):
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Like `reading`, but no other process may read or write meanwhile."""
    with _holding(folder, shared=False):
        recover(folder)
        yield


@contextmanager
def _holding(folder: Path, shared: bool) -> Iterator[None]:
    hold = locked(folder, shared=shared)
    try:
        hold.__enter__()
    except LockTimeout as error:
        raise BuildDirError(
            f"{folder}: {error.strerror}: wait for the other fpga-gen command, or end it"
        ) from error
    try:
        yield
    finally:
        hold.__exit__(None, None, None)


def recover(folder: Path) -> None:
    """Finishes or throws away what an interrupted update left; the caller holds the lock."""
    staging = folder / STAGING
    if not os.path.lexists(staging):
        return
    if _is_folder(staging) and (staging / MANIFEST).is_file():
        try:
            _move_into_place(folder)
        except OSError as error:
            raise BuildDirError(
                f"{folder}: an interrupted update cannot be finished: {error.strerror}"
            ) from error
        return
    try:
        remove_tree(staging)
    except OSError as error:
        # The directory is whole without it: a reader without the right to delete may go on.
        if os.access(folder, os.W_OK):
            raise BuildDirError(f"{staging}: cannot be deleted: {error.strerror}") from error


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def replace_files(folder: Path, files: dict[str, bytes], manifest: Manifest) -> None:
    """Brings the folder to the state of `manifest`; the caller holds its lock and has recovered it.

    files: content of those listed files that are new or changed. What the present manifest lists
    and the new one does not is deleted; a result only if it still is what was listed.

    Raises:
        BuildDirError: a file that no manifest lists is in the way, or the file system refuses.
            Unless the message says otherwise the folder is as it was.
    """
    check_places(folder, files, read_owned(folder), files.__getitem__)
    staging = folder / STAGING
    try:
        _stage(staging, files, manifest.encode())
    except BaseException as error:
        _discard(staging)
        if isinstance(error, OSError):
            raise BuildDirError(f"{folder}: cannot be written: {error.strerror}") from error
        raise
    try:
        _move_into_place(folder)
    except (OSError, BuildDirError) as error:
        raise BuildDirError(
            f"{folder}: an update was interrupted ({error}): the next fpga-gen command on this "
            "directory finishes it"
        ) from error


def _stage(staging: Path, files: dict[str, bytes], manifest: bytes) -> None:
    """Everything into the staging folder, durable; it counts when this returns."""
    new = staging / NEW
    make_folders(new)
    folders = {new, staging}
    for name, data in files.items():
        path = new / name
        make_folders(path.parent)
        folders.add(path.parent)
        write_synced(path, data)
    write_synced(staging / UNCOUNTED, manifest)
    sync_folders(folders)
    os.replace(staging / UNCOUNTED, staging / MANIFEST)
    sync_folder(staging)


def _discard(staging: Path) -> None:
    """Throws a staging folder away; if that fails too, the next command does it."""
    try:
        (staging / MANIFEST).unlink(missing_ok=True)
        remove_tree(staging)
    except OSError:
        pass


def _move_into_place(folder: Path) -> None:
    """Moves the files from the staging folder to their places; may be begun anew wherever it
    ended."""
    staging = folder / STAGING
    after = read_manifest(staging).files
    before = read_owned(folder)
    touched = {folder}
    new = staging / NEW
    for name in after:
        staged = new / name
        if not os.path.lexists(staged):
            continue  # unchanged, or moved before the interruption
        if not _is_folder(new) or find_obstacle(new, name):
            raise BuildDirError(f"{staged}: not written by fpga-gen: delete {staging}")
        check_places(folder, [name], before, lambda name: read_regular(new / name, MAX_FILE))
        target = folder / name
        make_folders(target.parent)
        os.replace(staged, target)
        touched.add(target.parent)
    for name in before.keys() - after.keys():
        touched |= _remove(folder, name, before[name])
    sync_folders(touched)
    os.replace(staging / MANIFEST, folder / MANIFEST)
    sync_folder(folder)
    remove_tree(staging)
    sync_folder(folder)


def _remove(folder: Path, name: str, entry: Entry) -> set[Path]:
    """Deletes a file that is listed no more, and folders that it leaves empty; touched folders."""
    path = folder / name
    if find_obstacle(folder, name):
        return set()
    if os.path.lexists(path):
        if entry.result and not holds(path, entry):
            return set()  # somebody put another file in its place
        os.unlink(path)
    touched = {path.parent}
    for parent in PurePosixPath(name).parents[:-1]:
        place = folder / parent
        if place.is_dir():
            if any(os.scandir(place)):
                break
            os.rmdir(place)
        touched.add(place.parent)
    return touched


def holds(path: Path, entry: Entry) -> bool:
    """Whether a file is what an entry says; OSError if the file system does not tell."""
    try:
        return sha256(read_regular(path, entry.bytes)) == entry.sha256
    except OSError as error:
        if error.errno in ANOTHER:
            return False
        raise


def find_obstacle(folder: Path, name: str) -> str:
    """A name on the way to a file of the folder that is no folder but a file or a link, or the
    file's own if that is a folder; else empty."""
    path = PurePosixPath(name)
    for parent in reversed(path.parents[:-1]):
        place = folder / parent
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return str(parent)
    place = folder / name
    return name if place.is_dir() and not place.is_symlink() else ""


def check_places(
    folder: Path, names: Iterable[str], owned: Iterable[str], content: Callable[[str], bytes]
) -> None:
    """BuildDirError if a file to be written would replace one that is not fpga-gen's and differs.

    content: what is to be written, by name."""
    owned = set(owned)
    for name in names:
        path = folder / name
        obstacle = find_obstacle(folder, name)
        foreign = not obstacle and name not in owned and os.path.lexists(path)
        if obstacle or (foreign and not holds(path, Entry.of(content(name)))):
            raise BuildDirError(
                f"{folder / (obstacle or name)}: not written by fpga-gen, and in the way of a file "
                "of the build: move it away"
            )
