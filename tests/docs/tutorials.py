"""The code blocks of a tutorial, run in order in a folder that looks like the repository.

    python -m tests.docs.tutorials PAGE FOLDER [--keep]

--keep: the pictures of the page that the blocks made are put into docs/images.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.M | re.S)
PICTURE = re.compile(r"!\[[^\]]*\]\(images/([^)]+)\)")
DRIVER = """
import json, subprocess, sys
names = {"__name__": "__main__"}
for language, text in json.load(sys.stdin):
    print(f"--- {language}", text, "---", sep="\\n")
    if language == "python":
        exec(compile(text, "the page", "exec"), names)
    elif subprocess.run(["bash", "-euo", "pipefail", "-c", text]).returncode:
        sys.exit(1)
"""
SHARED = ("models", "host", "boards", "docs")  # what the commands name


@dataclass(frozen=True)
class Tutorial:
    """page: name of a file in docs/; blocks: (language, text) of what a reader runs."""

    page: str
    blocks: tuple[tuple[str, str], ...]
    pictures: tuple[str, ...]

    @staticmethod
    def of(page: str) -> Tutorial:
        text = (ROOT / "docs" / page).read_text()
        return Tutorial(page, tuple(BLOCK.findall(text)), tuple(PICTURE.findall(text)))

    def run(self, folder: Path, replaced: Mapping[str, str] = {}) -> str:
        """Runs every block; returns what they printed.

        The Python blocks of a page share their names. replaced: texts of the page that would take
        too long, and what is run instead; each must be there.

        Raises:
            AssertionError: a block failed; shows the end of what was printed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name in SHARED:
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        blocks = [list(block) for block in self.blocks]
        for old, new in replaced.items():
            assert any(old in text for _, text in blocks), f"{self.page} does not say: {old}"
            blocks = [[language, text.replace(old, new)] for language, text in blocks]
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("", "host", "models")),
        }
        done = subprocess.run(
            [sys.executable, "-u", "-c", DRIVER], input=json.dumps(blocks), cwd=folder,
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.page}: {done.stdout[-3000:]}"
        return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.docs.tutorials", description=__doc__)
    parser.add_argument("page")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    tutorial = Tutorial.of(options.page)
    print(tutorial.run(options.folder))
    for name in tutorial.pictures if options.keep else ():
        made = options.folder / name
        if made.is_file():
            shutil.copy(made, ROOT / "docs" / "images" / name)


if __name__ == "__main__":
    main()
