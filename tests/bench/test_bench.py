"""The benchmark without its long runs: works, shapes, memory, rows and tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import bench.__main__ as program
from bench.frames import FRAMES, frame_rows
from bench.networks import draw_input, write_block, write_conv
from bench.peer import run_nngen
from bench.rows import Row, from_dict, markdown, to_dict
from bench.small import (
    MULTIPLIERS,
    NNGEN_DRAM,
    best_shape,
    candidates,
    memory_timing,
    prepare,
    run,
    sqnr_db,
)
from fpga_gen.errors import ToolError
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.ir import Concat, Conv, conv_macs
from fpga_gen.steps import Silent


def test_works_have_the_published_size(tmp_path: Path):
    conv = import_onnx(write_conv(tmp_path / "conv.onnx"))
    assert conv_macs(conv) == 64 * 64 * 9 * 28 * 28
    block = import_onnx(write_block(tmp_path / "block.onnx"))
    assert conv_macs(block) == 146_733_440  # 146.73 M, the first HarDBlock of HarDNet-68
    convs = [n for n in block.nodes if isinstance(n, Conv)]
    widths = [block.tensors[n.output].channels for n in convs]
    assert widths == [14, 24, 14, 40, 14, 24, 14, 68, 128]
    inputs = [sum(block.tensors[t.input].channels for t in n.terms) for n in convs]
    assert inputs == [64, 78, 24, 102, 40, 54, 24, 142, 124]
    assert sum(isinstance(n, Concat) for n in block.nodes) == 5


def test_works_are_reproducible(tmp_path: Path):
    first = write_block(tmp_path / "a.onnx").read_bytes()
    assert write_block(tmp_path / "b.onnx").read_bytes() == first
    assert np.array_equal(draw_input(), draw_input())
    assert not np.array_equal(draw_input(), draw_input(8))


def test_every_candidate_has_as_many_multipliers_as_the_peer():
    shapes = list(candidates())
    assert len(shapes) >= 20
    for params in shapes:
        assert params.macs_per_cycle == MULTIPLIERS == 288
        assert params.ports == 1
        assert params.sp2_columns == 0


def test_memory_is_that_of_the_peer():
    assert NNGEN_DRAM.sustained_bytes_per_cycle(64, 1) == pytest.approx(16 * 15 / 19, rel=0.01)
    rate = memory_timing().read_rate(next(candidates()))
    assert rate == pytest.approx(16 * 64 / (64 * 19 / 15 + 13))  # one burst at a time


def test_best_shape_is_the_best(tmp_path: Path):
    work = prepare(write_conv(tmp_path / "conv.onnx"))
    told: list[str] = []
    best = best_shape(work, told.append)
    assert work.lower_bound == 100_352
    assert work.lower_bound < best.estimate.cycles < 1.1 * work.lower_bound
    assert len(told) >= 2  # the first candidate is not the best
    assert f"{best.estimate.cycles:,}" in told[-1]


@pytest.mark.slow
def test_rtl_on_the_peers_memory(tmp_path: Path):
    work = prepare(write_conv(tmp_path / "conv.onnx"))
    schedule = best_shape(work, lambda text: None)
    result = run(work, schedule)
    assert result.cycles == pytest.approx(schedule.estimate.cycles, rel=0.02)
    assert result.dram_bytes == schedule.estimate.read_bytes + schedule.estimate.write_bytes
    assert result.sqnr_db > 30


def test_rows_survive_json_and_give_tables():
    rows = [
        Row("a", "ours", "simulated", 288, 1000, 5000, 12.5, 144_000, "x|y", "2026-01-01"),
        Row("b", "theirs", "published", fps=3.0, note="end to end"),
    ]
    assert [from_dict(json.loads(json.dumps(to_dict(r)))) for r in rows] == rows
    assert to_dict(rows[0])["utilisation"] == 0.5
    text = markdown(rows)
    assert "## a" in text
    assert "| ours | simulated | 288 | 1,000 | 50.0 % | 5,000 | 12.5 | 2026-01-01 | x\\|y |" in text
    assert "| theirs | published | - | - | - | - | 3.0 |  | end to end |" in text
    with pytest.raises(ValueError, match="'guessed'"):
        Row("a", "b", "guessed")


def test_new_rows_replace_those_of_their_work():
    old = [Row("a", "x", "bound"), Row("b", "y", "bound"), Row("gone", "z", "bound")]
    new = [Row("a", "w", "bound")]
    assert program.merge(old, new, ["b", "a"]) == [old[1], new[0]]


def test_a_refused_network_says_so_and_the_vendor_is_labelled(tmp_path: Path):
    work = next(w for w in FRAMES if w.published)
    rows = list(frame_rows(work, tmp_path / "absent.onnx", tmp_path, False, Silent()))
    own, published = rows[: len(work.machines)], rows[len(work.machines) :]
    assert len({r.machine for r in own}) == len(own) > 1
    assert all("refused" in r.note and "absent.onnx" in r.note for r in own)
    assert len(published) == 2 * len(work.published)
    assert {r.kind for r in published} == {"published"}
    assert all(r.cycles is None for r in published)


def test_peer_that_is_missing_is_named(tmp_path: Path):
    model = write_conv(tmp_path / "conv.onnx")
    with pytest.raises(ToolError, match="NNgen"):
        run_nngen(tmp_path / "python", model, draw_input(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["conv.onnx"]


def test_sqnr():
    exact = np.array([3.0, 4.0])
    assert sqnr_db(exact, exact) == float("inf")
    assert sqnr_db(exact, exact + 0.5) == pytest.approx(10 * np.log10(25 / 0.5))


def test_command_runs_one_work_and_keeps_the_others(tmp_path: Path, monkeypatch):
    kept = Row("HarDNet-85 224x224", "ours", "estimated", cycles=5)
    program.write_tables([kept], tmp_path)
    monkeypatch.setattr(
        program, "small_rows", lambda title, *rest: iter([Row(title, "ours", "bound", cycles=7)])
    )
    done = CliRunner().invoke(program.main, ["--only", "plain", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    rows = [from_dict(r) for r in json.loads((tmp_path / "benchmark.json").read_text())["rows"]]
    assert [r.cycles for r in rows] == [7, 5]
    assert rows[0].date
    assert "not the same thing as simulated cycles" in (tmp_path / "benchmark.md").read_text()
    wrong = CliRunner().invoke(program.main, ["--only", "resnet", "--output", str(tmp_path)])
    assert wrong.exit_code == 2
    assert "HarDNet-85" in wrong.output
