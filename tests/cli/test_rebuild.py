"""`build` into a folder that is not empty: what goes, what stays, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fpga_gen.builddir.artifacts import load_build
from fpga_gen.deploy.bitfile import stand_in_bitstream


@pytest.fixture
def build_copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "out"))


@pytest.mark.parametrize("manifest", ["{}", '{"name": "site", "icons": []}'])
def test_a_manifest_of_something_else_does_not_make_a_build_directory(
    cli, model: Path, tmp_path: Path, manifest: str
):
    mine = tmp_path / "w"
    mine.mkdir()
    (mine / "manifest.json").write_text(manifest)
    (mine / "thesis.txt").write_text("a year of work")
    result = cli("build", model, "--board", "tiny", "-o", mine)
    assert result.code == 1
    assert "w/manifest.json: not a manifest of fpga-gen; choose another -o" in result.err
    assert {p.name: p.read_text() for p in mine.iterdir()} == {
        "manifest.json": manifest,
        "thesis.txt": "a year of work",
    }


def test_what_the_user_laid_beside_the_build_stays(cli, model: Path, build_copy: Path):
    (build_copy / "thesis.txt").write_text("a year of work")
    (build_copy / "board7.bit").write_bytes(b"a bitstream from elsewhere")
    result = cli("build", model, "--board", "tiny", "-o", build_copy)
    assert result.code == 0, result.err
    assert (build_copy / "thesis.txt").read_text() == "a year of work"
    assert (build_copy / "board7.bit").read_bytes() == b"a bitstream from elsewhere"
    assert "kept, not of this build: board7.bit, thesis.txt" in result.out
    data = json.loads(cli("build", model, "--board", "tiny", "-o", build_copy, "--json").out)
    assert data["kept"] == ["board7.bit", "thesis.txt"]


def test_stand_ins_of_the_old_build_go(cli, model: Path, build_copy: Path):
    handoff = '<EDKSYSTEM VIVADOVERSION="fpga-gen 0">'
    (build_copy / "fpga_gen.bit").write_bytes(stand_in_bitstream("fpga_gen", "p", 1, handoff))
    (build_copy / "fpga_gen.hwh").write_text(handoff)
    result = cli("build", model, "--board", "tiny", "-o", build_copy)
    assert result.code == 0, result.err
    assert "kept" not in result.out
    assert set(load_build(build_copy).files) | {"manifest.json"} == {
        str(p.relative_to(build_copy)) for p in build_copy.rglob("*") if p.is_file()
    }


def test_a_file_where_the_build_has_to_write_is_named_before_the_long_work(
    cli, model: Path, build_copy: Path
):
    (build_copy / "rtl" / "mine.v").write_text("module mine; endmodule\n")
    result = cli("build", model, "--board", "tiny", "-o", build_copy)
    assert result.code == 1
    assert "rtl/mine.v: not in the manifest: move it away" in result.err
    assert (build_copy / "rtl" / "mine.v").is_file()
