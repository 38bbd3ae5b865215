"""The build directory: whole or absent, verified, deterministic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpga_gen.builddir import manifest, update
from fpga_gen.builddir.artifacts import load_build, update_build, write_build
from fpga_gen.errors import BuildDirError
from fpga_gen.report import Report
from fpga_gen.report.render import read_report, report_files

FILES = {
    "rtl/fpga_gen_top.v": b"module fpga_gen_top; endmodule\n",
    "program.bin": bytes(range(64)),
    "weights.bin": bytes(range(255, 0, -1)),
    "report.json": b"{}\n",
}
FACTS = {"model": {"name": "net", "sha256": "0" * 64}}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    write_build(tmp_path / "out", FILES, FACTS)
    return tmp_path / "out"


def test_round_trip(built: Path):
    build = load_build(built)
    assert build.files == FILES
    assert build.facts["model"] == FACTS["model"]
    listing = json.loads((built / "manifest.json").read_text())
    assert listing["files"]["program.bin"]["bytes"] == 64
    assert build.rtl() == {"fpga_gen_top.v": b"module fpga_gen_top; endmodule\n"}


def test_two_builds_are_equal_bytes(built: Path, tmp_path: Path):
    write_build(tmp_path / "again", dict(reversed(FILES.items())), FACTS)
    for path in built.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(built)).read_bytes()


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_and_named(built: Path, name: str, damage: str):
    path = built / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
    elif damage == "truncate":
        path.write_bytes(bytes(data[:-1]))
    else:
        path.unlink()
    with pytest.raises(BuildDirError, match=name):
        load_build(built)


def test_stray_verilog_is_found(built: Path):
    (built / "rtl" / "extra.v").write_text("module extra; endmodule")
    with pytest.raises(BuildDirError, match=r"extra\.v: not in the manifest"):
        load_build(built)


def test_another_version_is_refused(built: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifest, "__version__", "9.9.9")
    with pytest.raises(BuildDirError, match=r"manifest\.json: built by fpga-gen .*, this is 9"):
        load_build(built)


@pytest.mark.parametrize("content", ["", "[]", "{}", "{", '{"format": 1, "tool": 3}'])
def test_bad_manifest_is_refused(built: Path, content: str):
    (built / "manifest.json").write_text(content)
    with pytest.raises(BuildDirError, match=r"manifest\.json"):
        load_build(built)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname"])
def test_manifest_cannot_point_outside(built: Path, name: str):
    listing = json.loads((built / "manifest.json").read_text())
    listing["files"][name] = {"sha256": "0", "bytes": 0}
    (built / "manifest.json").write_text(json.dumps(listing))
    with pytest.raises(BuildDirError, match="bad entry"):
        load_build(built)


def test_no_directory(tmp_path: Path):
    with pytest.raises(BuildDirError, match="not a build directory"):
        load_build(tmp_path / "absent")


def test_rebuild_replaces_everything(built: Path):
    write_build(built, {"program.bin": b"new"}, FACTS)
    assert load_build(built).files == {"program.bin": b"new"}
    assert not (built / "rtl").exists()


def test_failure_keeps_the_old_build_and_leaves_no_trace(
    built: Path, monkeypatch: pytest.MonkeyPatch
):
    written = []

    def full(path: Path, data: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(update, "write_synced", full)
    with pytest.raises(BuildDirError, match="No space left"):
        write_build(built, FILES, FACTS)
    monkeypatch.undo()
    assert load_build(built).files == FILES
    assert [p.name for p in built.parent.iterdir()] == ["out"]


def test_interrupt_keeps_the_old_build(built: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(update, "write_synced", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_build(built, {"program.bin": b"new"}, FACTS)
    monkeypatch.undo()
    assert load_build(built).files == FILES
    assert [p.name for p in built.parent.iterdir()] == ["out"]


def test_foreign_folder_is_not_replaced(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x")
    with pytest.raises(BuildDirError, match="not an fpga-gen build"):
        write_build(tmp_path / "mine", FILES, FACTS)


def test_update_keeps_the_directory_verifiable(built: Path):
    update_build(load_build(built), lambda _: {"report.json": b'{"a": 1}\n'})
    build = load_build(built)
    assert build.json("report.json") == {"a": 1}
    assert build.facts["model"] == FACTS["model"]
    assert sorted(p.name for p in built.iterdir()) == sorted(
        ["manifest.json", "program.bin", "report.json", "rtl", "weights.bin"]
    )


def test_report_is_read_back(tmp_path: Path, report: Report):
    write_build(tmp_path / "out", {**FILES, **report_files(report)}, FACTS)
    assert read_report(load_build(tmp_path / "out")).to_dict() == report.to_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "missing"), (b"{}\n", "not a report"), (b'{"schema": 0}\n', "this version reads")],
)
def test_bad_report_is_named(tmp_path: Path, content: bytes | None, message: str):
    files = {name: data for name, data in FILES.items() if name != "report.json"}
    write_build(tmp_path / "out", files if content is None else {**files, "report.json": content},
                FACTS)  # fmt: skip
    with pytest.raises(BuildDirError, match=rf"report\.json: .*{message}.*: build again"):
        read_report(load_build(tmp_path / "out"))
