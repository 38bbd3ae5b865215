"""The lock files hold what pyproject.toml asks for, on every supported Python, nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.lock import WITHOUT_HASH, lock_options

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DIRECT = "fpga-gen (pyproject.toml"
LOCKS = tuple(lock_options())
PYTHONS = ("3.11", "3.12")
RENEW = "pyproject.toml has changed: make lock"


def entries(lock: str) -> dict[Requirement, str]:
    """Pinned package -> the rest of its entry: hashes, and the packages that want it."""
    text = (ROOT / "locks" / f"{lock}.txt").read_text()
    parts = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    heads = [part.partition("\n") for part in parts]
    return {Requirement(head.rstrip(" \\")): rest for head, _, rest in heads}


def pins(lock: str, python: str) -> dict[str, str]:
    """Package -> version in an environment of that Python on Linux."""
    place = {"python_version": python, "python_full_version": f"{python}.2"}
    place |= {"sys_platform": "linux"}
    chosen = [r for r in entries(lock) if r.marker is None or r.marker.evaluate(place)]
    assert len({r.name for r in chosen}) == len(chosen), "one version of each package"
    return {r.name: str(r.specifier).removeprefix("==") for r in chosen}


def wanted(lock: str) -> list[Requirement]:
    """What pyproject.toml asks for by name, extras of its own followed."""
    if lock == "build":
        texts = PROJECT["dependency-groups"]["build"]
    else:
        extras = PROJECT["project"]["optional-dependencies"]
        texts = PROJECT["project"]["dependencies"] + ([] if lock == "base" else extras[lock])
    found = []
    for requirement in map(Requirement, texts):
        if requirement.name == PROJECT["project"]["name"]:
            found += [r for extra in requirement.extras for r in wanted(extra)]
        else:
            found.append(requirement)
    return [r for r in found if not WITHOUT_HASH.fullmatch(r.name)]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_locked_at_a_version_that_fits(lock: str, python: str):
    locked = pins(lock, python)
    for requirement in wanted(lock):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not in locks/{lock}.txt; {RENEW}"
        assert requirement.specifier.contains(version), f"{requirement}: {version}; {RENEW}"


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_is_locked_that_nobody_wants(lock: str):
    direct = {r.name for r, rest in entries(lock).items() if DIRECT in rest}
    assert direct == {canonicalize_name(r.name) for r in wanted(lock)}, RENEW


def test_every_extra_has_a_lock():
    assert {p.stem for p in (ROOT / "locks").iterdir()} == set(LOCKS)
    assert set(LOCKS) == {*PROJECT["project"]["optional-dependencies"], "base", "build"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_has_hashes_and_no_address(lock: str):
    for requirement, rest in entries(lock).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", rest), requirement
        assert requirement.url is None
    text = (ROOT / "locks" / f"{lock}.txt").read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|^\s*[/.]", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_neither_torch_nor_cuda_is_locked(lock: str):
    assert not [r.name for r in entries(lock) if WITHOUT_HASH.fullmatch(r.name)]


def test_what_is_installed_is_what_is_tested():
    tested = pins("test", "3.11")
    for lock in ("base", "board", "synth", "models"):
        shared = {n: v for n, v in pins(lock, "3.11").items() if n in tested}
        assert shared == {n: tested[n] for n in shared}
        assert lock == "models" or set(pins(lock, "3.11")) <= set(tested)


def test_the_build_system_is_in_the_lock_of_the_build():
    names = {r.name for r in wanted("build")}
    assert {Requirement(text).name for text in PROJECT["build-system"]["requires"]} <= names
