"""Pictures through the RTL on two processes: as with one, though a worker is killed in the middle
and the run is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from distributed import LocalCluster

from fpga_gen import boards
from fpga_gen.api.build import Build
from fpga_gen.builddir.artifacts import load_build
from fpga_gen.cache import cache_directory
from fpga_gen.errors import BuildDirError, FpgaGenError
from fpga_gen.evaluate import frames
from fpga_gen.evaluate.frames import build_identity
from fpga_gen.spread import ATTEMPTS, Lost

RESULTS = ("evaluation.json", "evaluation.md", "evaluation.png", "report.json")


@pytest.fixture
def folder(bright: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bright, tmp_path / "bright"))


def evaluated(folder: Path, **options) -> dict[str, bytes]:
    """The results of an evaluation of all four pictures through the RTL."""
    Build(folder / "out").evaluate(folder / "images", folder / "masks", rtl=4, **options)
    return {name: (folder / "out" / name).read_bytes() for name in RESULTS}


def journals() -> list[Path]:
    return sorted((cache_directory() / "frames").glob("*.jsonl"))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Workers are this process; the pictures that they got are noted, and each is asked for in
    JSON."""
    asked: list[str] = []

    def here(function, tasks, workers, scheduler):
        assert (workers, scheduler) == (2, None)
        for task in reversed(tasks):
            asked.append(Path(task.picture).name)
            yield task, json.loads(json.dumps(function(task)))

    monkeypatch.setattr(frames, "spread", here)
    frames._opened.cache_clear()
    return asked


def test_spread_results_are_those_of_one_process(folder: Path, alone: list[str]):
    one = evaluated(folder)
    assert not alone
    assert json.loads(one["evaluation.json"])["accuracy"]["rtl_bit_exact"] is True
    assert evaluated(folder, workers=2) == one
    assert evaluated(folder, workers=2) == one
    assert sorted(alone) == sorted(2 * ["empty.png", "good.png", "half.png", "lost.png"])
    assert frames._opened.cache_info().misses == 1, "a worker opens the build once"


def test_a_stopped_run_goes_on_where_it_was(
    folder: Path, alone: list[str], monkeypatch: pytest.MonkeyPatch
):
    before, run_task = journals(), frames.run_task

    def interrupted(task):
        if len(alone) == 3:
            raise KeyboardInterrupt
        return run_task(task)

    monkeypatch.setattr(frames, "run_task", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluated(folder, workers=2)
    (journal,) = set(journals()) - set(before)
    assert len(journal.read_text().splitlines()) == 2
    monkeypatch.setattr(frames, "run_task", run_task)
    found = evaluated(folder, workers=2)
    assert len(alone) == 3 + 2
    assert journals() == before, "nothing is left of a complete run"
    assert found == evaluated(folder)


def test_a_picture_over_which_workers_die_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def lost(function, tasks, **_):
        yield tasks[0], Lost(f"{ATTEMPTS} workers died")

    monkeypatch.setattr(frames, "spread", lost)
    with pytest.raises(FpgaGenError, match=r"images/\w+\.png: 3 workers died"):
        evaluated(folder, workers=2)


def test_a_worker_that_sees_another_build_says_so(folder: Path):
    with pytest.raises(BuildDirError, match="share one folder"):
        frames._opened(str(folder / "out"), "0" * 64)
    build = load_build(folder / "out")
    assert build_identity(build) == build_identity(load_build(folder / "out"))


def run_on_tiny(task) -> dict:
    """`run_task` in a process that has to be told of the tiny board, in a file."""
    boards._FOLDERS = (Path((Path(task.directory).parent / "boards.txt").read_text()),)
    sim = frames._opened(task.directory, task.build)
    return frames.asdict(frames.simulate_picture(sim, Path(task.picture)))


def once_killed(task) -> dict:
    """The same, but the first worker that gets one of two pictures dies."""
    mark = Path(task.picture).with_suffix(".asked")
    if mark.stem in ("lost", "good") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return run_on_tiny(task)


@pytest.mark.timeout(240)
def test_a_worker_killed_in_the_middle_loses_nothing(
    cli, folder: Path, board_files: Path, monkeypatch: pytest.MonkeyPatch
):
    one = evaluated(folder)
    (folder / "boards.txt").write_text(str(board_files))
    monkeypatch.setattr(frames, "run_task", once_killed)
    data = ("--images", folder / "images", "--masks", folder / "masks")
    result = cli("evaluate", folder / "out", *data, "--rtl", 4, "--workers", 2)
    assert result.code == 0, result.err
    assert {p.stem for p in (folder / "images").glob("*.asked")} == {"lost", "good"}
    assert one == {name: (folder / "out" / name).read_bytes() for name in RESULTS}


@pytest.mark.timeout(240)
def test_on_a_cluster_that_is_there(
    folder: Path, board_files: Path, monkeypatch: pytest.MonkeyPatch
):
    one = evaluated(folder)
    (folder / "boards.txt").write_text(str(board_files))
    monkeypatch.setattr(frames, "run_task", run_on_tiny)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        assert evaluated(folder, scheduler=cluster.scheduler_address) == one


def test_what_is_wrong_is_told_at_once(cli, folder: Path):
    """Before the pictures are read, of which one is broken."""
    (folder / "images" / "half.png").write_bytes(b"")
    command = ("evaluate", folder / "out", "--images", folder / "images", "--masks",
               folder / "masks", "--workers", 2)  # fmt: skip
    assert "--rtl N" in cli(*command).err
    for address in ("tcp://127.0.0.1:1", "127.0.0.1", "nonsense://x:1"):
        result = cli(*command, "--rtl", 1, "--scheduler", address)
        assert result.code == 1
        assert f"{address}: no Dask scheduler answers there" in result.err
