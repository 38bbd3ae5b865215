"""`build` of a model quantised elsewhere: what it could not keep is printed and reported."""

from __future__ import annotations

import json

from tests.frontend.onnx_models import Net
from tests.frontend.qdq_models import branches, chain, quantised


def test_deviations_are_printed_and_in_the_report(cli, tmp_path):
    model = quantised(branches(tmp_path), symmetric=True)
    options = ["--board", "tiny", "--scheme", "fixed8", "-o", tmp_path / "out", "-v"]
    result = cli("build", model, *options)
    assert result.code == 0
    line = "mix: inputs have different scales: weights folded and rounded again (6 of 6 filters)"
    assert f"not as imported: {line}" in result.out
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert f"- {line}\n" in markdown
    assert "| imported filters kept | 16 of 22 |" in markdown
    facts = json.loads((tmp_path / "out" / "report.json").read_text())["quantisation"]
    assert {"where": "mix", "reason": line.removeprefix("mix: ")} in facts["imported"]


def test_model_that_is_kept_whole_says_so(cli, tmp_path):
    model = quantised(chain(tmp_path), symmetric=True)
    options = ["--board", "tiny", "--scheme", "fixed8", "-o", tmp_path / "out"]
    result = cli("build", model, *options)
    assert result.code == 0
    assert "not as imported" not in result.out
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "quantisation that came with the model:\n\n- none\n" in markdown


def test_interpolation_that_eight_bits_cannot_hold_is_reported(cli, tmp_path):
    net = Net((1, 3, 131, 4))
    y = net.op("Relu", net.conv("x", 3, 4))
    net.op("Resize", y, "", "", net.ints(1, 4, 262, 4), mode="linear", name="up",
           coordinate_transformation_mode="align_corners")  # fmt: skip
    result = cli("build", net.save(tmp_path), "--board", "tiny", "-o", tmp_path / "out")
    assert result.code == 0
    line = "up: interpolation weights off by up to 1.9e-03"
    assert f"approximate: {line}" in result.out
    assert f"- {line}\n" in (tmp_path / "out" / "report.md").read_text()
    assert line in (tmp_path / "out" / "report.html").read_text()


def test_exact_interpolation_is_no_approximation(cli, tmp_path):
    net = Net((1, 3, 6, 4))
    y = net.op("Relu", net.conv("x", 3, 4))
    net.op("Resize", y, "", net.const([1, 1, 2, 2]), mode="linear")
    result = cli("build", net.save(tmp_path), "--board", "tiny", "-o", tmp_path / "out")
    assert result.code == 0
    assert "approximate" not in result.out
    assert "Approximations" not in (tmp_path / "out" / "report.md").read_text()
