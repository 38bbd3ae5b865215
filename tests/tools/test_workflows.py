"""The workflows are YAML, and call targets of the Makefile that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_target_exists(path: Path):
    data = yaml.safe_load(path.read_text())
    steps = [step for job in data["jobs"].values() for step in job["steps"]]
    called = {m for s in steps for m in re.findall(r"^make (\S+)", s.get("run", ""), re.MULTILINE)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert called
    assert called <= targets


def test_there_is_one_for_tests_docs_and_wheels():
    assert [path.stem for path in WORKFLOWS] == ["docs", "test", "wheels"]
