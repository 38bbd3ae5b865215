"""`evaluate` end to end on pictures whose masks, and so whose figures, are known beforehand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.builddir.artifacts import load_build
from fpga_gen.evaluate import flow as evaluation_flow
from fpga_gen.evaluate import frames
from fpga_gen.images import read_picture, write_png
from fpga_gen.report import Report
from fpga_gen.simulate.runner import SimulationResult
from fpga_gen_host.regions import map_to_words
from tests.evaluate.conftest import write_bright, write_mask

DICE = {"lost": 0.0, "half": 2 / 3, "empty": 1.0, "good": 1.0}
IOU = {"lost": 0.0, "half": 0.5, "empty": 1.0, "good": 1.0}


@pytest.fixture
def folder(bright: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bright, tmp_path / "bright"))


def arguments(folder: Path, *more: object) -> tuple[object, ...]:
    return ("evaluate", folder / "out", "--images", folder / "images", "--masks", folder / "masks",
            *more)  # fmt: skip


def scores(data: dict) -> dict[tuple[str, int], dict]:
    return {(s["source"], s["images"]): s for s in data["accuracy"]["scores"]}


def test_figures_are_those_of_the_hand_made_masks(cli, folder: Path):
    result = cli(*arguments(folder, "--model", folder / "bright.onnx", "--json"))
    assert result.code == 0, result.err
    data = json.loads(result.out)["evaluation"]
    found = scores(data)
    assert set(found) == {("float", 4), ("integer", 4)}
    for entry in found.values():
        assert entry["dice"] == pytest.approx(sum(DICE.values()) / 4)
        assert entry["iou"] == pytest.approx(sum(IOU.values()) / 4)
    assert found["float", 4]["kind"] == "float"
    assert found["integer", 4]["kind"] == "integer reference"
    assert found["integer", 4]["agreement_float"] == 1.0
    assert found["float", 4]["agreement_float"] is None
    assert [p["image"] for p in data["pictures"]] == [f"{n}.png" for n in DICE]
    for picture in data["pictures"]:
        name = Path(picture["image"]).stem
        assert picture["scores"]["integer"]["dice"] == pytest.approx(DICE[name])
        assert picture["bit_exact"] is None
    assert data["accuracy"]["worst_image"] == "lost.png"
    assert data["accuracy"]["size"] == [12, 12]


def test_only_the_pictures_that_a_file_names(cli, folder: Path):
    names = folder / "held-out.txt"
    names.write_text("half.png\nof-another-folder.png\n\nlost.png\n")
    result = cli(*arguments(folder, "--only", names, "--json"))
    assert result.code == 0, result.err
    data = json.loads(result.out)["evaluation"]
    assert {p["image"] for p in data["pictures"]} == {"half.png", "lost.png"}
    assert scores(data)["integer", 2]["dice"] == pytest.approx((DICE["half"] + DICE["lost"]) / 2)


def test_sqnr_of_every_tensor_the_lowest_first(cli, folder: Path):
    result = cli(*arguments(folder, "--model", folder / "bright.onnx", "--json"))
    data = json.loads(result.out)["evaluation"]
    values = [np.inf if t["sqnr_db"] is None else t["sqnr_db"] for t in data["tensors"]]
    assert values == sorted(values)
    assert len(values) == 3  # the input and two convolutions
    assert {t["layer"] for t in data["tensors"]} == {"input", "grey", "head"}
    assert all(v > 25 for v in values)
    assert data["accuracy"]["worst_tensors"] == data["tensors"]


def test_results_lie_in_the_build_directory_and_in_its_report(cli, folder: Path):
    result = cli(*arguments(folder, "--model", folder / "bright.onnx"))
    assert result.code == 0, result.err
    build = load_build(folder / "out")  # still verifies, and lists the new files
    evaluation = build.json("evaluation.json")
    assert build.json("report.json")["accuracy"] == evaluation["accuracy"]
    report = Report.from_dict(build.json("report.json"))
    assert report.accuracy is not None
    assert report.accuracy.worst_image == "lost.png"
    assert report.to_dict() == build.json("report.json")  # a later simulation keeps it
    assert "## Accuracy" in build.files["report.md"].decode()
    text = build.read("evaluation.md").decode()
    assert "| float graph | float | 4 of 4 | 0.6667 | 0.6250 |" in text
    assert "Quantisation changes mDice by +0.0000" in text
    assert "nearest neighbour" in text
    sheet = read_picture(folder / "out" / "evaluation.png")
    assert sheet.shape[0] > 4 * 176
    assert "mDice" in result.out
    assert "lost.png" in result.out


def test_other_output_folder(cli, folder: Path, tmp_path: Path):
    result = cli(*arguments(folder, "-o", tmp_path / "results", "-q"))
    assert (result.code, result.out, result.err) == (0, "", "")
    names = {p.name for p in (tmp_path / "results").iterdir()}
    assert names == {"evaluation.json", "evaluation.md", "evaluation.png"}
    build = load_build(folder / "out")
    assert not build.results
    assert build.json("report.json")["accuracy"]["images"] == 4


def test_without_the_model_there_is_no_float_column(cli, folder: Path):
    result = cli(*arguments(folder, "--json"))
    data = json.loads(result.out)["evaluation"]
    assert set(scores(data)) == {("integer", 4)}
    assert data["tensors"] == []
    assert "no float column" in (folder / "out" / "evaluation.md").read_text()
    assert "--model MODEL.onnx" in cli(*arguments(folder)).out


def test_bars_of_a_letterbox_do_not_count(cli, tmp_path: Path):
    wide = np.zeros((12, 24), bool)
    wide[4:8, 4:12] = True
    write_png(tmp_path / "images" / "wide.png", np.repeat(wide[..., None], 3, 2) * np.uint8(255))
    write_mask(tmp_path / "masks" / "wide.png", ~wide)  # the very opposite of what is found
    model = write_bright(tmp_path / "bright.onnx", sigmoid=False)
    options = ("--board", "tiny", "--normalise", "unit", "--fit", "letterbox", "-q")
    assert cli("build", model, *options, "-o", tmp_path / "out").code == 0
    data = json.loads(cli(*arguments(tmp_path, "--json")).out)["evaluation"]
    metrics = data["pictures"][0]["scores"]["integer"]
    assert (metrics["dice"], metrics["precision"], metrics["recall"]) == (0, 0, 0)
    write_mask(tmp_path / "masks" / "wide.png", wide)
    data = json.loads(cli(*arguments(tmp_path, "--json")).out)["evaluation"]
    assert data["pictures"][0]["scores"]["integer"]["dice"] == 1.0
    assert "bars of the letterbox left out" in (tmp_path / "out" / "evaluation.md").read_text()


def test_pictures_without_a_mask_are_counted_and_named(cli, folder: Path):
    (folder / "masks" / "good.png").unlink()
    data = json.loads(cli(*arguments(folder, "--json")).out)["evaluation"]
    assert data["unlabelled"] == ["good.png"]
    assert data["accuracy"]["unlabelled"] == 1
    assert data["accuracy"]["images"] == 3
    assert "`good.png`" in (folder / "out" / "evaluation.md").read_text()


def test_evaluating_twice_gives_equal_bytes(cli, folder: Path):
    names = ("evaluation.json", "evaluation.md", "evaluation.png", "report.json")
    found = []
    for _ in range(2):
        assert cli(*arguments(folder, "--model", folder / "bright.onnx")).code == 0
        found.append([(folder / "out" / n).read_bytes() for n in names])
    assert found[0] == found[1]


def stand_in(flips: dict[int, int]):
    """A frame that answers with the integer reference, but for `flips`: byte -> xor, in the
    second picture."""
    calls = []

    def run_frame(sim) -> None:
        region = bytearray(sim.output_layout.bytes)
        for item, offset in zip(sim.output_layout.maps, sim.output_layout.offsets, strict=True):
            data = map_to_words(item, sim.reference[item.tensor]).tobytes()
            region[offset : offset + len(data)] = data
        if calls:
            for at, bits in flips.items():
                region[at] ^= bits
        calls.append(sim.stored_input)
        sim.progress.detail("half", 0.5)
        sim.result = SimulationResult.__new__(SimulationResult)
        object.__setattr__(sim.result, "output", bytes(region))
        object.__setattr__(sim.result, "cycles", 1000 + len(calls))

    return run_frame


@pytest.fixture
def no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_flow, "compile_simulator", lambda sim: None)


def test_rtl_pictures_are_the_worst_and_an_even_choice(
    cli, folder: Path, monkeypatch: pytest.MonkeyPatch, no_simulator: None
):
    monkeypatch.setattr(frames, "run_frame", stand_in({}))
    result = cli(*arguments(folder, "--model", folder / "bright.onnx", "--rtl", 2, "--json"))
    assert result.code == 0, result.err
    data = json.loads(result.out)["evaluation"]
    exact = {p["image"]: (p["bit_exact"], p["cycles"]) for p in data["pictures"]}
    assert exact == {
        "lost.png": (True, 1001), "half.png": (None, None), "empty.png": (None, None),
        "good.png": (True, 1002),
    }  # fmt: skip
    found = scores(data)
    assert set(found) == {
        ("float", 4), ("integer", 4), ("float", 2), ("integer", 2), ("rtl", 2)
    }  # fmt: skip
    assert found["rtl", 2]["kind"] == "simulated"
    assert found["rtl", 2]["dice"] == found["integer", 2]["dice"] == 0.5
    assert found["rtl", 2]["agreement_integer"] == 1.0
    assert data["accuracy"]["rtl_bit_exact"] is True


def test_rtl_that_differs_is_written_down_and_then_an_error(
    cli, folder: Path, monkeypatch: pytest.MonkeyPatch, no_simulator: None
):
    monkeypatch.setattr(frames, "run_frame", stand_in({0: 0x40}))
    result = cli(*arguments(folder, "--rtl", 4))
    assert result.code == 1
    assert "half.png: RTL and integer reference differ: layer 'head'" in result.err
    assert "row 0, column 0, channel 0" in result.err
    data = load_build(folder / "out").json("evaluation.json")
    assert data["accuracy"]["rtl_bit_exact"] is False
    assert [p["bit_exact"] for p in data["pictures"]] == [True, False, False, False]
    assert "DIFFERENT FROM" in (folder / "out" / "report.md").read_text()


def test_rtl_for_real(cli, folder: Path):
    result = cli(*arguments(folder, "--rtl", 1, "--json"))
    assert result.code == 0, result.err
    data = json.loads(result.out)["evaluation"]
    found = scores(data)
    assert found["rtl", 1]["agreement_integer"] == 1.0
    assert data["accuracy"]["rtl_bit_exact"] is True
    assert data["pictures"][0]["cycles"] > 0
