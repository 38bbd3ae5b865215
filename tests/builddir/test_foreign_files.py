"""What is not fpga-gen's is never replaced, deleted or followed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fpga_gen.builddir.artifacts import (
    check_room,
    check_target,
    load_build,
    update_build,
    write_build,
)
from fpga_gen.builddir.update import STAGING
from fpga_gen.errors import BuildDirError

FILES = {"rtl/top.v": b"module top; endmodule\n", "program.bin": b"program", "report.md": b"one"}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    write_build(tmp_path / "out", FILES, {})
    return tmp_path / "out"


@pytest.mark.parametrize(
    "manifest",
    [
        "{}", "[]", "", '{"files": {}}', '{"tool": {"name": "webpack"}, "files": {}}',
        '{"tool": {"name": "fpga-gen"}}', '{"tool": {"name": "fpga-gen"}, "files": {"a": 1}}',
        '{"tool": {"name": "fpga-gen"}, "files": {"../x": {"bytes": 1, "sha256": ""}}}',
    ],
)  # fmt: skip
def test_a_folder_with_another_manifest_is_refused(tmp_path: Path, manifest: str):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "manifest.json").write_text(manifest)
    (mine / "thesis.txt").write_text("a year of work")
    for attempt in (check_target, lambda path: write_build(path, FILES, {})):
        with pytest.raises(BuildDirError, match=r"mine/manifest\.json: .*choose another -o"):
            attempt(mine)
    assert (mine / "thesis.txt").read_text() == "a year of work"
    assert (mine / "manifest.json").read_text() == manifest
    assert len(list(mine.iterdir())) == 2


def test_other_files_outlive_a_rebuild_and_are_named(built: Path):
    for name in ("thesis.txt", "mine.bit", "notes/a/b.txt", "reference/own.npz"):
        (built / name).parent.mkdir(parents=True, exist_ok=True)
        (built / name).write_text(name)
    assert check_target(built) == ("mine.bit", "notes", "reference", "thesis.txt")
    kept = write_build(built, {"program.bin": b"new"}, {})
    assert kept == ("mine.bit", "notes", "reference", "thesis.txt")
    for name in ("thesis.txt", "mine.bit", "notes/a/b.txt", "reference/own.npz"):
        assert (built / name).read_text() == name
    assert not (built / "rtl").exists()
    assert load_build(built).files == {"program.bin": b"new"}


def test_a_build_of_another_version_is_replaced(built: Path):
    text = (built / "manifest.json").read_text()
    (built / "manifest.json").write_text(text.replace('"version": "', '"version": "0.0.0-'))
    write_build(built, {"program.bin": b"new"}, {})
    assert {p.name for p in built.iterdir()} == {"program.bin", "manifest.json"}


def test_results_of_the_old_build_go_with_it(built: Path):
    results = {"fpga_gen.bit": b"bits", "implementation/timing.rpt": b"met", "mine.rpt": b"met"}
    update_build(load_build(built), lambda _: {}, results)
    (built / "mine.rpt").write_text("changed by hand")
    write_build(built, FILES, {})
    assert {p.name for p in built.iterdir()} == {
        "rtl", "program.bin", "report.md", "manifest.json", "mine.rpt",
    }  # fmt: skip


def test_a_result_may_be_deleted(built: Path):
    build = update_build(load_build(built), lambda _: {}, {"reference/a.npz": b"1", "b": b"2"})
    (built / "reference" / "a.npz").unlink()
    assert load_build(built).read("b") == b"2"
    with pytest.raises(BuildDirError, match=r"reference/a\.npz: cannot be read"):
        build.read("reference/a.npz")
    update_build(build, lambda _: {}, {"c": b"3"})
    assert set(load_build(built).results) == {"b", "c"}


def test_a_changed_result_is_found_when_it_is_read(built: Path):
    update_build(load_build(built), lambda _: {}, {"b": b"2"})
    (built / "b").write_bytes(b"3")
    with pytest.raises(BuildDirError, match="b: differs from the manifest"):
        load_build(built).read("b")


@pytest.mark.parametrize("place", ["fpga_gen.bit", "implementation", "implementation/timing.rpt"])
def test_a_result_does_not_replace_another_file(built: Path, place: str):
    (built / place).parent.mkdir(exist_ok=True)
    (built / place).write_text("mine")
    results = {"fpga_gen.bit": b"bits", "implementation/timing.rpt": b"met"}
    for attempt in (
        lambda: update_build(load_build(built), lambda _: {}, results),
        lambda: check_room(load_build(built), results),
    ):
        with pytest.raises(BuildDirError, match=f"{place}: not written by fpga-gen.*move it away"):
            attempt()
    assert (built / place).read_text() == "mine"
    assert not load_build(built).results
    assert not (built / STAGING).exists()


def test_an_equal_file_is_taken_over(built: Path):
    (built / "fpga_gen.bit").write_bytes(b"bits")
    update_build(load_build(built), lambda _: {}, {"fpga_gen.bit": b"bits"})
    assert set(load_build(built).results) == {"fpga_gen.bit"}


def test_a_linked_folder_is_not_written_to(built: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "top.v").write_text("mine")
    (built / "rtl" / "top.v").unlink()
    (built / "rtl").rmdir()
    (built / "rtl").symlink_to(elsewhere)
    with pytest.raises(BuildDirError, match="rtl: not written by fpga-gen"):
        write_build(built, FILES, {})
    write_build(built, {"program.bin": b"new"}, {})  # no Verilog: the link stays as it is
    assert (elsewhere / "top.v").read_text() == "mine"
    assert (built / "rtl").is_symlink()


@pytest.mark.parametrize("count", [True, False])
def test_a_false_staging_folder_moves_and_deletes_nothing_outside(
    built: Path, tmp_path: Path, count: bool
):
    """A build directory from elsewhere may hold anything under the name of the staging folder."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "program.bin").write_text("mine")
    manifest = (built / "manifest.json").read_text()
    if count:
        (built / STAGING).mkdir()
        (built / STAGING / "manifest.json").write_text(manifest)
        (built / STAGING / "new").symlink_to(mine)
        with pytest.raises(BuildDirError, match="not written by fpga-gen: delete"):
            load_build(built)
    else:
        (mine / "manifest.json").write_text(manifest)
        (built / STAGING).symlink_to(mine)
        assert load_build(built).files == FILES
        assert not os.path.lexists(built / STAGING)
    assert (mine / "program.bin").read_text() == "mine"


def test_a_false_manifest_in_the_staging_folder_is_refused(built: Path):
    (built / STAGING).mkdir()
    listing = {"tool": {"name": "fpga-gen"}, "files": {"../x": {"bytes": 1, "sha256": ""}}}
    (built / STAGING / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(BuildDirError, match=r"bad entry '\.\./x'"):
        load_build(built)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "a/../b",
        "a//b",
        "./a",
        "",
        ".",
        "manifest.json",
        ".fpga-gen/x",
        "a\0b",
        "a/",
        "a\nb",
        "\x1b[2J",
        "a\ud800",
        "a\u202e",
        "x" * 256,
        "a/" + "é" * 128,
    ],
)
def test_names_that_are_no_files_of_the_folder(built: Path, name: str):
    listing = json.loads((built / "manifest.json").read_text())
    listing["files"][name] = {"bytes": 0, "sha256": ""}
    (built / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(BuildDirError, match="bad entry"):
        load_build(built)


@pytest.mark.parametrize("kind", ["pipe", "link", "longer"])
def test_reading_neither_blocks_nor_follows(built: Path, kind: str):
    path = built / "report.md"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"one and more")
    with pytest.raises(BuildDirError, match=r"report\.md: (cannot be read|differs)"):
        load_build(built)


def test_a_build_goes_through_a_link_to_its_folder(built: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(built)
    write_build(tmp_path / "link", {"program.bin": b"new"}, {})
    assert (tmp_path / "link").is_symlink()
    assert load_build(built).files == {"program.bin": b"new"}


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("a file")
    for place in ("notes.txt/out", "notes.txt/a/b"):
        with pytest.raises(BuildDirError, match=r"cannot be made in .*notes\.txt; choose another"):
            check_target(tmp_path / place)
    assert check_target(tmp_path / "a" / "b") == ()
