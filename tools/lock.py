"""Writes locks/*.txt: every package that an environment gets, with its version and its hashes.

`python tools/lock.py` keeps the versions that still fit pyproject.toml; `--upgrade` takes the
newest of all. Called by `make lock`; needs uv (dependency group `lock`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "locks"
# The lock whose versions all others take, so that what is tested is what is installed.
LEADING = "test"
# A CPU build of torch has a hash of its own and comes from wherever pip's configuration says; the
# build with the same version on PyPI is for CUDA and brings gigabytes. So torch is pinned in
# pyproject.toml, and neither it nor CUDA is in a lock.
WITHOUT_HASH = re.compile(r"torch|triton|cuda-.*|nvidia-.*")


def lock_options() -> dict[str, list[str]]:
    """Name of a lock -> what uv is asked for. The leading lock comes first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = sorted(project["optional-dependencies"], key=lambda name: name != LEADING)
    return {
        **{extra: ["pyproject.toml", "--extra", extra] for extra in extras},
        "base": ["pyproject.toml"],
        "build": ["--group", "build"],
    }


def without_unlocked(text: str) -> str:
    """The lock less the packages that are installed without a hash."""
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    return "".join(e for e in entries if not WITHOUT_HASH.fullmatch(e.partition("==")[0]))


def write_lock(name: str, options: list[str], upgrade: list[str]) -> None:
    target = FOLDER / f"{name}.txt"
    lead = [] if name in (LEADING, "build") else ["--constraints", f"locks/{LEADING}.txt"]
    subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", *options, *lead, *upgrade),
            *("--universal", "--python-version", "3.11"),
            *("--generate-hashes", "--no-emit-index-url"),
            *("--custom-compile-command", "make lock", "--quiet", "--output-file", str(target)),
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    target.write_text(without_unlocked(target.read_text()))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, options in lock_options().items():
        write_lock(name, options, sys.argv[1:])
