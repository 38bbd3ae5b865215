"""A build directory at every point at which a command may be killed, or find the disk full."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fpga_gen.builddir.artifacts import check_target, load_build, update_build, write_build
from fpga_gen.disk import replace_file
from fpga_gen.errors import BuildDirError
from tests.builddir.crashes import (
    FAILED,
    KILLED,
    ROUNDS,
    content,
    count_operations,
    kill_after,
    run,
    start,
)

OLD = {
    "rtl/top.v": b"module top; endmodule\n",
    "rtl/old_leaf.v": b"module old_leaf; endmodule\n",
    "program.bin": bytes(range(64)),
    "report.json": b'{"run": 0}\n',
}
NEW = {
    "rtl/top.v": b"module top; wire x; endmodule\n",
    "vivado/deep/build.tcl": b"puts 1\n",
    "program.bin": bytes(range(64, 0, -1)) * 3,
    "report.json": b'{"run": 1}\n',
}
FACTS = {"model": {"name": "net"}}
NOTES = {"thesis.txt": b"a year of work", "rtl.txt": b"", "pictures/a.png": b"png"}
RESULTS = {"fpga_gen.bit": b"bits", "implementation/timing.rpt": b"met"}


def build_old(folder: Path) -> None:
    write_build(folder, OLD, FACTS)
    update_build(load_build(folder), lambda _: {}, RESULTS)
    for name, data in NOTES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def update(folder: Path) -> None:
    more = {"evaluation.md": b"fine", "fpga_gen.bit": b"other bits"}
    update_build(load_build(folder), lambda _: {"report.json": b'{"run": 2}\n'}, more)


SCENARIOS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "first build": (lambda folder: None, lambda folder: write_build(folder, OLD, FACTS)),
    "rebuild": (build_old, lambda folder: write_build(folder, NEW, FACTS)),
    "update": (build_old, update),
}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No need to wait for the disk here either; that everything is synced in the right order is a
    test of its own."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@dataclass(frozen=True)
class Scenario:
    """A folder before and after one command, and what to do about it."""

    template: Path
    action: Callable[[Path], None]
    before: dict[str, bytes]
    after: dict[str, bytes]
    operations: int

    def copy(self, folder: Path) -> Path:
        if self.template.exists():
            shutil.copytree(self.template, folder)
        return folder


@pytest.fixture(scope="module", params=SCENARIOS)
def scenario(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    prepare, action = SCENARIOS[request.param]
    template = tmp_path_factory.mktemp("crash") / "out"
    prepare(template)
    shown = template.with_name("shown")
    if template.exists():
        shutil.copytree(template, shown)
    operations = count_operations(lambda: action(shown), template.with_name("count"))
    assert operations > 30
    before, after = content(template), content(shown)
    assert before != after
    return Scenario(template, action, before, after, operations)


def settle(folder: Path) -> dict[str, bytes]:
    """Content after the next command, which may be one that reads."""
    refusal = ""
    try:
        load_build(folder)
    except BuildDirError as error:
        refusal = str(error)
    assert not refusal or "not a build directory" in refusal
    return content(folder)


def judge(scenario: Scenario, folder: Path) -> str:
    """'old' or 'new'; the folder is one of them, whole, without anything left over."""
    found = settle(folder)
    if found == scenario.after:
        return "new"
    assert found == scenario.before
    assert [p.name for p in folder.parent.iterdir()] in ([folder.name], [])
    return "old"


def test_killed_at_every_operation(scenario: Scenario, tmp_path: Path):
    states = []
    for at in range(scenario.operations):
        folder = scenario.copy(tmp_path / str(at) / "out")
        folder.parent.mkdir(exist_ok=True)
        assert run(lambda f=folder: scenario.action(f), at).status == KILLED
        states.append(judge(scenario, folder))
    switch = states.index("new")
    assert 0 < switch
    assert states == ["old"] * switch + ["new"] * (scenario.operations - switch)


def test_disk_full_at_every_operation(scenario: Scenario, tmp_path: Path):
    for at in range(scenario.operations):
        folder = scenario.copy(tmp_path / str(at) / "out")
        folder.parent.mkdir(exist_ok=True)
        status, line = run(lambda f=folder: scenario.action(f), at, full=True)
        state = judge(scenario, folder)
        if status == FAILED:
            assert "BuildDirError" in line, line
            assert str(folder) in line
            assert (state == "new") == ("finishes it" in line)
        else:  # the operation was one of tidying up
            assert (status, state) == (0, "new")


def test_killed_again_while_recovering(scenario: Scenario, tmp_path: Path):
    rng = random.Random(5)
    for number in range(25 * ROUNDS):
        folder = scenario.copy(tmp_path / str(number) / "out")
        folder.parent.mkdir(exist_ok=True)
        run(lambda f=folder: scenario.action(f), rng.randrange(scenario.operations))
        for _ in range(rng.randrange(3)):
            run(lambda f=folder: settle(f), rng.randrange(20))
        judge(scenario, folder)
        shutil.rmtree(folder.parent)


def test_the_next_build_goes_through_wherever_the_last_one_ended(scenario: Scenario, tmp_path):
    for at in range(0, scenario.operations, 7):
        folder = scenario.copy(tmp_path / str(at) / "out")
        folder.parent.mkdir(exist_ok=True)
        run(lambda f=folder: scenario.action(f), at)
        check_target(folder)
        write_build(folder, NEW, FACTS)
        assert load_build(folder).files == NEW
        kept = {name for name in scenario.before if name in NOTES}
        assert set(content(folder)) == {*NEW, "manifest.json", *kept}


def test_single_files_are_whole_after_every_kill(tmp_path: Path):
    path = tmp_path / "mask.png"
    other = tmp_path / "other"
    operations = count_operations(lambda: replace_file(other, b"x" * 100), tmp_path / "count")
    for at in range(operations):
        path.write_bytes(b"old")
        assert run(lambda: replace_file(path, b"new" * 50), at).status == KILLED
        assert path.read_bytes() in (b"old", b"new" * 50)
        path.write_bytes(b"old")
        run(lambda: replace_file(path, b"new" * 50), at, full=True)
        assert path.read_bytes() in (b"old", b"new" * 50)
    replace_file(path, b"end")
    assert {p.name for p in tmp_path.iterdir()} == {"mask.png", "other", "count"}


# --- kills at any time, and many commands at once -------------------------------------------


def keep_updating(folder: Path, name: str) -> None:
    """Counts up in report.json and in a result, for ever."""
    while True:
        count_up(folder, name)


def count_up(folder: Path, name: str) -> None:
    def change(fresh) -> dict[str, bytes]:
        counts = fresh.json("report.json")
        text = json.dumps({**counts, name: counts.get(name, 0) + 1}).encode()
        return {"report.json": text, "report.md": text}

    update_build(load_build(folder), change, {f"{name}.npz": b"x" * 1000})


def test_kill_9_at_any_time(tmp_path: Path):
    rng = random.Random(7)
    folder = tmp_path / "out"
    build_old(folder)
    last = 0
    for _ in range(40 * ROUNDS):
        kill_after(lambda: keep_updating(folder, "counter"), rng.uniform(0.002, 0.03))
        build = load_build(folder)
        counter = build.json("report.json").get("counter", 0)
        assert counter >= last
        assert build.files.get("report.md", build.files["report.json"]) == build.read("report.json")
        names = {n for n in content(folder) if not n.startswith("pictures")}
        assert names == {*build.files, *build.results, "manifest.json", "thesis.txt", "rtl.txt"}
        last = counter
    assert last > 10


def test_concurrent_updates_lose_nothing(tmp_path: Path):
    folder = tmp_path / "out"
    build_old(folder)
    names, times = ("a", "b", "c", "d"), 12 * ROUNDS

    def write(name: str) -> None:
        for _ in range(times):
            count_up(folder, name)

    def read() -> None:
        for _ in range(6 * times):
            build = load_build(folder)
            assert build.files.get("report.md", b"") in (b"", build.files["report.json"])

    children = [start(lambda n=name: write(n)) for name in names] + [start(read), start(read)]
    assert [child.wait() for child in children] == [(0, "")] * len(children)
    counts = load_build(folder).json("report.json")
    assert counts == {"run": 0} | dict.fromkeys(names, times)


def test_updates_during_rebuilds_are_refused_or_whole(tmp_path: Path):
    folder = tmp_path / "out"
    build_old(folder)

    def rebuild() -> None:
        for number in range(20 * ROUNDS):
            write_build(folder, NEW if number % 2 else OLD, FACTS)

    def write() -> None:
        for _ in range(20 * ROUNDS):
            refusal = ""
            try:
                count_up(folder, "a")
            except BuildDirError as error:
                refusal = str(error)
            assert not refusal or "was built anew" in refusal

    children = [start(rebuild), start(write), start(write)]
    assert [child.wait() for child in children] == [(0, "")] * 3
    assert load_build(folder).files["program.bin"] == NEW["program.bin"]
    assert set(NOTES) <= set(content(folder))
