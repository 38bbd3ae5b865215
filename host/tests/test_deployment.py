"""The deploy folder: every file is checked, and the message names the one at fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from host_fakes import HASH, layout_json, write_deploy

from fpga_gen_host import DeployError, load_deployment
from fpga_gen_host.deployment import own_identity


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_deploy(tmp_path / "deploy")


def test_facts(folder: Path):
    d = load_deployment(folder)
    assert (d.design_hash, d.ports, d.clock_hz) == (HASH, 4, 200e6)
    assert d.program_words == 2
    assert d.bitstream is None
    assert d.threshold == 0.0
    assert d.instructions[1] == ("conv", "first")


def test_threshold_of_a_probability(tmp_path: Path):
    sigmoid = [{"kind": "sigmoid", "target": "out", "attributes": {}}]
    assert load_deployment(write_deploy(tmp_path, layout_json(host_ops=sigmoid))).threshold == 0.5


@pytest.mark.parametrize("name", ["program.bin", "weights.bin", "layout.json"])
def test_a_changed_or_missing_file_is_named(folder: Path, name: str):
    data = bytearray((folder / name).read_bytes())
    data[7] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DeployError, match=f"{name}: differs from the manifest"):
        load_deployment(folder)
    (folder / name).unlink()
    with pytest.raises(DeployError, match=f"{name}: cannot be read"):
        load_deployment(folder)


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("format", 1, "format 1, this package reads 2"),
        ("register_map", 9, "register_map 9, this package reads"),
        ("identity", None, "registers none, this package has"),
        ("identity", {**own_identity(), "registers": "0" * 64}, "registers 0{16}, this package"),
        ("identity", {**own_identity(), "regions": "0" * 64}, "regions 0{16}, .*or build again"),
        ("files", {}, "does not list program.bin"),
        ("design_hash", "xyz", "incomplete .ValueError"),
        ("parameters", {}, "incomplete .KeyError: 'ports'"),
        ("parameters", {"ports": 2}, "2 ports, layout.json 4"),
    ],
)
def test_manifest_of_another_build(tmp_path: Path, entry: str, value: object, message: str):
    with pytest.raises(DeployError, match=message):
        load_deployment(write_deploy(tmp_path, **{entry: value}))


def test_broken_manifest(folder: Path):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DeployError, match=r"manifest.json: not valid JSON"):
        load_deployment(folder)
    (folder / "manifest.json").write_text("[]")
    with pytest.raises(DeployError, match=r"manifest.json: not a JSON object"):
        load_deployment(folder)


@pytest.mark.parametrize("region", ["program", "weights", "input", "output"])
def test_layout_of_another_program(tmp_path: Path, region: str):
    layout = layout_json()
    layout["regions"][f"{region}_bytes"] += 16
    with pytest.raises(DeployError, match=f"{region}_bytes is "):
        load_deployment(write_deploy(tmp_path, layout))


def test_layout_version(tmp_path: Path):
    with pytest.raises(DeployError, match=r"layout.json: version 7"):
        load_deployment(write_deploy(tmp_path, {**layout_json(), "version": 7}))


def test_bitstream_needs_its_hardware_description(folder: Path):
    (folder / "design.bit").write_bytes(b"bits")
    with pytest.raises(DeployError, match=r"design.hwh: missing"):
        load_deployment(folder)
    (folder / "design.hwh").write_text("<xml/>")
    assert load_deployment(folder).bitstream == folder / "design.bit"
    (folder / "other.bit").write_bytes(b"bits")
    with pytest.raises(DeployError, match=r"several bitstreams .design.bit, other.bit"):
        load_deployment(folder)


def test_listed_bitstream_is_verified(folder: Path):
    (folder / "design.bit").write_bytes(b"bits")
    (folder / "design.hwh").write_text("<xml/>")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["design.bit"] = {"bytes": 4, "sha256": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DeployError, match=r"design.bit: differs from the manifest"):
        load_deployment(folder)
