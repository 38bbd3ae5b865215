"""`build` and `simulate` through the command line: what lies in DIR, determinism, bit-exactness."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.builddir.artifacts import load_build, sha256
from fpga_gen.images import read_picture, write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen_host.pictures import LEGEND
from tests.cli.networks import write_model


@pytest.fixture
def build_copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    write_png(path, draw_phantom(24, 30)[0])
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_directory_holds_what_is_promised(built: Path):
    names = set(content(built))
    assert {
        "rtl/fpga_gen_top.v", "program.bin", "weights.bin", "manifest.json", "report.json",
        "report.md", "report.html", "trace.json", "quantised.npz", "layout.json",
    } <= names  # fmt: skip
    manifest = json.loads((built / "manifest.json").read_text())
    assert set(manifest["files"]) == names - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == sha256((built / name).read_bytes())
    model = built.parent / "net.onnx"
    assert manifest["model"]["sha256"] == sha256(model.read_bytes())
    assert manifest["parameters"]["dsp_columns"] == 4
    assert {"board", "config", "tool", "register_map", "identity"} <= set(manifest)
    constant = (built / "rtl" / "fpga_gen_design_hash.v").read_text()
    assert f"64'h{manifest['design_hash']};" in constant


def test_no_temporary_folder_stays(built: Path):
    assert sorted(p.name for p in built.parent.iterdir()) == ["net.onnx", "out"]


def test_building_twice_gives_equal_bytes(cli, built: Path, tmp_path: Path):
    model = tmp_path / "elsewhere" / "net.onnx"
    model.parent.mkdir()
    write_model(model)
    assert cli("build", model, "--board", "tiny", "-o", tmp_path / "again").code == 0
    assert content(tmp_path / "again") == content(built)


def test_estimate_is_what_build_reports(cli, built: Path):
    out = cli("estimate", built.parent / "net.onnx", "--board", "tiny", "--json").out
    report = json.loads((built / "report.json").read_text())
    assert json.loads(out)["estimate"] == report["estimate"]
    assert json.loads(out)["layers"] == report["layers"]


def test_calibration_and_scheme_reach_the_build(built_fixed8: Path):
    report = json.loads((built_fixed8 / "report.json").read_text())
    assert report["quantisation"]["calibration_images"] == 3
    assert report["quantisation"]["sp2_mac_share"] == 0
    assert report["array"]["out_channels"] == {"DSP": 8, "SP2": 0}
    manifest = json.loads((built_fixed8 / "manifest.json").read_text())
    assert manifest["config"]["scheme"] == "fixed8"
    assert manifest["config"]["calibration"] == "pictures"
    assert manifest["calibration_sha256"] is not None


@pytest.mark.parametrize("name", ["program.bin", "weights.bin", "rtl/fpga_gen_top.v"])
def test_simulate_refuses_a_flipped_byte(cli, build_copy: Path, picture: Path, name: str):
    path = build_copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(bytes(data))
    result = cli("simulate", build_copy, "--image", picture)
    assert result.code == 1
    assert name in result.err
    assert "Traceback" not in result.err


def test_simulate_refuses_another_version(cli, build_copy: Path, picture: Path):
    manifest = json.loads((build_copy / "manifest.json").read_text())
    manifest["tool"]["version"] = "0.0.1"
    (build_copy / "manifest.json").write_text(json.dumps(manifest))
    result = cli("simulate", build_copy, "--image", picture)
    assert result.code == 1
    assert "built by fpga-gen 0.0.1" in result.err


def test_simulate_refuses_what_is_no_picture(cli, build_copy: Path, tmp_path: Path):
    path = tmp_path / "fake.png"
    path.write_bytes(b"GIF89a is how another format begins")
    result = cli("simulate", build_copy, "--image", path)
    assert result.code == 1
    assert "fake.png: not a readable picture" in result.err
    result = cli("simulate", build_copy, "--image", tmp_path / "absent.png")
    assert result.code == 1
    assert "no such file" in result.err
    result = cli("simulate", tmp_path / "nothing", "--image", path)
    assert result.code == 1
    assert "not a build directory" in result.err


def test_simulate_is_bit_exact_and_updates_the_report(
    cli, build_copy: Path, picture: Path, tmp_path: Path
):
    overlay = tmp_path / "overlay.png"
    result = cli(
        "simulate",
        build_copy,
        "--image",
        picture,
        "--trace-tensors",
        "--overlay",
        overlay,
        "--json",
    )
    assert result.code == 0, result.err
    simulation = json.loads(result.out)["simulation"]
    assert simulation["bit_exact"] is True
    assert simulation["kind"] == "simulated"
    assert simulation["image"] == "picture.png"
    build = load_build(build_copy)  # still verifies
    report = build.json("report.json")
    assert report["simulation"] == simulation
    assert simulation["tensors_compared"] == 1 + 3  # the input and every convolution's result
    assert simulation["cycles"] > 0
    macs, peak = report["model"]["macs"], report["array"]["macs_per_cycle"]
    assert simulation["utilisation"] == pytest.approx(macs / (simulation["cycles"] * peak))
    assert simulation["dram_read_bytes"] == report["estimate"]["dram_read_bytes"]
    assert "equal to the integer reference" in (build_copy / "report.md").read_text()
    assert "equal to the integer reference" in (build_copy / "report.html").read_text()
    starts, activities = simulation["starts"], report["timeline"]["activities"]
    assert len(starts) == len(activities)
    assert sorted(set(starts)) == starts
    assert 0 < starts[0] < starts[-1] < simulation["cycles"]
    # the cycle model's dispatches are the hardware's, within what the model promises for cycles
    off = [abs(s - a["start"]) for s, a in zip(starts, activities, strict=True)]
    assert max(off) <= 0.05 * simulation["cycles"]
    assert f"{simulation['cycles']:,} cycles" in (build_copy / "trace.json").read_text()
    drawn, size = read_picture(overlay), read_picture(picture).shape
    assert drawn.shape == (size[0] + LEGEND, *size[1:])


def test_simulate_names_the_layer_that_differs(
    cli, build_copy: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
):
    from fpga_gen.flows import simulate as simulation_flow

    original = simulation_flow.run_integer

    def wrong(qgraph, stored):
        values = original(qgraph, stored)
        name = next(n.output for n in qgraph.nodes if n.name == "second")
        changed = values[name].copy()
        changed[2, 5, 7] += 1 if changed[2, 5, 7] < 0 else -1
        return {**values, name: changed}

    monkeypatch.setattr(simulation_flow, "run_integer", wrong)
    result = cli("simulate", build_copy, "--image", picture, "--trace-tensors")
    assert result.code == 1
    assert "layer 'second'" in result.err
    assert "row 5, column 7, channel 2" in result.err
    assert load_build(build_copy).json("report.json")["simulation"]["bit_exact"] is False


def test_overlay_needs_a_one_channel_map(cli, built_fixed8: Path, tmp_path: Path, picture: Path):
    overlay = tmp_path / "overlay.png"
    result = cli("simulate", built_fixed8, "--image", picture, "--overlay", overlay)
    assert result.code == 1
    assert "one-channel" in result.err


def test_overlay_needs_a_picture(cli, built: Path, tmp_path: Path):
    array, overlay = tmp_path / "a.npy", tmp_path / "overlay.png"
    np.save(array, np.zeros((3, 12, 12)))
    result = cli("simulate", built, "--image", array, "--overlay", overlay)
    assert result.code == 1
    assert "--overlay draws on a picture" in result.err
