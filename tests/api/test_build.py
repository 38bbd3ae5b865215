"""From a model to figures and pictures; what the command line prints is the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fpga_gen
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen_host.pictures import LEGEND
from tests.cli.conftest import Result, cli

__all__ = ["Result", "cli"]

# The first test that needs the simulator may compile it.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def opened(built: Path, tmp_path: Path) -> fpga_gen.Build:
    return fpga_gen.Build(shutil.copytree(built, tmp_path / "out"))


def test_build_is_what_the_command_builds(model: Path, built: Path, tmp_path: Path):
    made = fpga_gen.build(model, board="Tiny", output=tmp_path / "out")
    files = sorted(p.relative_to(built) for p in built.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(made.directory) for p in made.directory.rglob("*") if p.is_file()
    )
    for name in files:
        assert (built / name).read_bytes() == (made.directory / name).read_bytes(), name
    assert set(made.seconds) >= {"quantise", "schedule"}
    assert made.board.name == "tiny"
    assert made.report.array.option == "2,4,4,4"
    assert made.estimate == made.report.estimate
    assert "net on tiny" in repr(made)
    assert made.estimate.latency_ms == pytest.approx(made.estimate.cycles / 300e6 * 1e3)


def test_estimate_is_that_of_the_build(model: Path, built: Path):
    found = fpga_gen.estimate(model, board="tiny")
    assert found.estimate == fpga_gen.Build(built).estimate
    assert found.engines == ()  # the tiny board has one engine
    assert "estimated" in repr(found)


def test_check_finds_no_problem(model: Path):
    found = fpga_gen.check(model, board="tiny")
    assert found.problems == ()
    assert found.cycles > 0


def test_a_picture_as_file_pixels_and_input(opened: fpga_gen.Build, tmp_path: Path):
    pixels, _ = draw_phantom(20, 24, 3)
    write_png(tmp_path / "p.png", pixels)
    frame = opened.simulate(tmp_path / "p.png")
    assert frame.simulation.bit_exact
    assert opened.report.simulation == frame.simulation
    assert frame.mask is not None
    assert frame.mask.shape == (20, 24)
    assert frame.mask.dtype == bool
    assert frame.overlay.shape == (20, 24, 3)
    assert frame._repr_png_()[:4] == b"\x89PNG"
    assert "p.png" in repr(frame)
    page = opened.directory / "report.html"
    assert page.read_text().count("data:image/png;base64") == 1
    again = opened.simulate(pixels)
    assert again.simulation.image == "array"
    for name, values in frame.outputs.items():
        assert np.array_equal(again.outputs[name], values)
    real = opened.simulate(np.zeros((3, 12, 12)))
    assert "data:image/png" not in page.read_text()  # that of another frame
    assert real.mask is None
    assert real._repr_png_() is None
    with pytest.raises(ValueError, match="no mask"):
        real.overlay  # noqa: B018


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 9, 12)), r"the input: array float64 \(3, 9, 12\)"),
        (np.full((3, 12, 12), np.nan), "not finite"),
        (np.zeros((12, 12), np.uint8), "the input: array uint8"),
    ],
)
def test_an_array_that_is_no_input(opened: fpga_gen.Build, array: np.ndarray, message: str):
    with pytest.raises(fpga_gen.FpgaGenError, match=message):
        opened.simulate(array)


def test_evaluate_gives_the_scores(opened: fpga_gen.Build, tmp_path: Path):
    for number in range(3):
        pixels, truth = draw_phantom(24, 24, number)
        write_png(tmp_path / "images" / f"{number}.png", pixels)
        write_png(tmp_path / "masks" / f"{number}.png", truth.astype(np.uint8) * 255)
    found = opened.evaluate(tmp_path / "images", str(tmp_path / "masks"))
    assert found.accuracy.images == 3
    assert opened.report.accuracy == found.accuracy
    sheet = opened.directory / "evaluation.png"
    page = opened.directory / "report.html"
    assert "data:image/png;base64" in page.read_text()
    sheet.write_bytes(b"not ours any more")
    opened.simulate(np.zeros((3, 12, 12)))
    assert "data:image/png;base64" not in page.read_text()
    assert "pictures" in found._repr_html_()


def test_the_report_is_a_page_in_jupyter(built: Path):
    report = fpga_gen.Build(built).report
    html = report._repr_html_()
    assert "net on tiny" in html
    assert "<svg" in html
    assert "<script" not in html
    assert set(report.plots) == {
        "roofline", "utilisation", "cycles", "dram", "memory", "timeline",
    }  # fmt: skip
    plot = report.plots["timeline"]
    assert plot._repr_svg_().startswith("<svg")
    assert "Engine timeline" in repr(plot)


def test_names_of_layers_are_no_markup(built: Path):
    from dataclasses import replace

    report = fpga_gen.Build(built).report
    hostile = replace(report, model=replace(report.model, name="<script>alert(1)</script>"))
    assert "<script" not in hostile._repr_html_()


def test_what_is_no_build_directory(tmp_path: Path):
    with pytest.raises(fpga_gen.FpgaGenError, match="not a build directory"):
        fpga_gen.Build(tmp_path)


def test_wrong_options(model: Path, tmp_path: Path):
    for options, message in (
        ({"board": "tinny"}, "did you mean tiny"),
        ({"board": "tiny", "array": (1, 2, 3)}, "give pixels, inputs"),
        ({"board": "tiny", "clock_mhz": 1e9}, "clock"),
        ({"board": "tiny", "scheme": "int3"}, "unknown scheme"),
        ({"board": "tiny", "fit": "crop"}, "fit must be one of"),
        ({"board": "tiny", "calibration": tmp_path / "none"}, "no such file or folder"),
    ):
        with pytest.raises(fpga_gen.FpgaGenError, match=message):
            fpga_gen.build(model, output=tmp_path / "out", **options)
    with pytest.raises(TypeError, match="'calibraton': did you mean calibration"):
        fpga_gen.build(model, board="tiny", calibraton="pictures", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_picture_with_its_mask_is_a_picture(opened: fpga_gen.Build, tmp_path: Path):
    pixels, _ = draw_phantom(16, 16, 1)
    frame = opened.simulate(pixels, overlay=tmp_path / "o.png")
    drawn = np.asarray(Image.open(tmp_path / "o.png"))
    assert np.array_equal(drawn[:-LEGEND], frame.overlay)


def test_two_builds_side_by_side(built: Path, tmp_path: Path):
    found = fpga_gen.compare(built, fpga_gen.Build(built), output=tmp_path / "c.html")
    assert all(pair.a == pair.b for pair in found.figures)
    assert "net of 3 x 12 x 12 on tiny (2,4,4,4, mixed)" in (tmp_path / "c.html").read_text()
    with pytest.raises(fpga_gen.FpgaGenError, match="not a build directory"):
        fpga_gen.compare(built, tmp_path)


def test_the_command_compares_too(cli, built: Path, tmp_path: Path):
    result = cli("compare", built, built, "-o", tmp_path / "c.html")
    assert result.code == 0
    assert "cycles (estimated)" in result.out
    assert "second" in result.out
    assert (tmp_path / "c.html").is_file()
    assert cli("compare", built, tmp_path).code == 1
