"""Single files, locks, and what is made durable before an update counts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fpga_gen.builddir import update
from fpga_gen.builddir.artifacts import load_build, update_build, write_build
from fpga_gen.disk import LockTimeout, locked, read_regular, replace_file
from fpga_gen.errors import BuildDirError


def test_a_file_is_replaced_with_its_whole_content(tmp_path: Path):
    path = tmp_path / "a"
    replace_file(path, b"one")
    replace_file(path, lambda stream: stream.write(b"second"))
    assert path.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a"
    replace_file(path, b"one")

    def fails(stream) -> None:
        stream.write(b"half")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        replace_file(path, fails)
    assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path):
    (tmp_path / ".a.part").write_bytes(b"left by a killed process, and longer")
    replace_file(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_link_keeps_pointing_at_the_file(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    replace_file(tmp_path / "link", b"one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"one"


def test_a_device_is_written_to(tmp_path: Path):
    replace_file(Path("/dev/null"), b"one")
    assert not Path("/dev/.null.part").exists()


def test_many_writers_of_one_file(tmp_path: Path):
    path = tmp_path / "a"
    contents = [bytes([n]) * 100_000 for n in range(8)]
    threads = [threading.Thread(target=replace_file, args=(path, data)) for data in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "long"])
def test_only_regular_files_of_bounded_length_are_read(tmp_path: Path, kind: str):
    path = tmp_path / "a"
    if kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(bytes(101))
    with pytest.raises(OSError, match=r".") as caught:
        read_regular(path, 100)
    assert caught.value.strerror


def test_one_writer_or_many_readers(tmp_path: Path):
    with locked(tmp_path, shared=True), locked(tmp_path, shared=True, seconds=0):
        with pytest.raises(LockTimeout, match="in use by another process"):
            locked(tmp_path, seconds=0.05).__enter__()
    with locked(tmp_path):
        with pytest.raises(LockTimeout):
            locked(tmp_path, shared=True, seconds=0.05).__enter__()
    with locked(tmp_path, seconds=0):
        assert not list(tmp_path.iterdir())  # no lock file


def test_a_directory_that_is_held_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_build(tmp_path / "out", {"program.bin": b"x"}, {})
    monkeypatch.setattr("fpga_gen.disk.LOCK_SECONDS", 0.05)
    with locked(tmp_path / "out"):
        with pytest.raises(BuildDirError, match=r"out: in use by another process .*: wait for"):
            load_build(tmp_path / "out")


def test_everything_is_durable_before_the_update_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """After a power failure a rename may be there without the content that was not synced."""
    write_build(tmp_path / "out", {"program.bin": b"x", "rtl/a.v": b"old"}, {})
    out = tmp_path / "out"
    synced: list[str] = []
    moves: list[tuple[str, str, set[str]]] = []
    fsync, replace = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), out))
        fsync(handle)

    def note_move(source, target) -> None:
        names = (os.path.relpath(source, out), os.path.relpath(target, out))
        moves.append((*names, set(synced)))
        synced.clear()
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_move)
    update_build(load_build(out), lambda _: {"rtl/a.v": b"new"}, {"new/b.rpt": b"met"})
    staging = update.STAGING
    counts, *placed, last = moves
    assert counts[:2] == (f"{staging}/{update.UNCOUNTED}", f"{staging}/manifest.json")
    staged = {f"{staging}/new/{name}" for name in ("rtl/a.v", "new/b.rpt", "rtl", "new")}
    assert counts[2] >= {*staged, f"{staging}/new", f"{staging}/manifest.part", staging, "."}
    assert [(s, t) for s, t, _ in placed] == [
        (f"{staging}/new/new/b.rpt", "new/b.rpt"),
        (f"{staging}/new/rtl/a.v", "rtl/a.v"),
    ]
    assert staging in placed[0][2]  # that it counts
    assert last[:2] == (f"{staging}/manifest.json", "manifest.json")
    assert last[2] >= {"rtl", "new", "."}  # that all are in their places
