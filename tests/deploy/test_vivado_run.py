"""Following one run of the tool: progress, errors worth showing, interruption."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fpga_gen.deploy.vivado_run import LOG, first_error, run_vivado
from fpga_gen.errors import ToolError


def program(folder: Path, body: str) -> Path:
    path = folder / "vivado"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def ignore(text: str, done: float) -> None:
    """A user who does not look."""


def test_progress_is_the_steps_of_the_script(tmp_path: Path):
    seen: list[tuple[str, float]] = []
    tool = program(tmp_path, "echo noise; echo 'fpga-gen: step 3/8: validate'; echo more")
    run_vivado(tool, tmp_path / "x.tcl", tmp_path / "run", 2, lambda t, d: seen.append((t, d)))
    assert seen == [("validate", 0.25)]
    assert (tmp_path / LOG).read_text() == "noise\nfpga-gen: step 3/8: validate\nmore\n"


def test_interruption_ends_the_tool_and_its_children(tmp_path: Path):
    tool = program(
        tmp_path,
        "sleep 60 &\necho $! > child\necho 'fpga-gen: step 1/8: package'\nsleep 60\ntouch ended",
    )

    def interrupt(text: str, done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_vivado(tool, tmp_path / "x.tcl", tmp_path / "run", 2, interrupt)
    assert not (tmp_path / "ended").exists()
    child = int((tmp_path / "child").read_text())
    for _ in range(100):  # whoever inherits the child may take a moment to collect it
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    os.kill(child, 9)
    pytest.fail("a child of the tool survived")


def test_program_that_cannot_start_is_an_error(tmp_path: Path):
    tool = tmp_path / "vivado"
    tool.write_text("no interpreter line, no binary\n")
    with pytest.raises(ToolError, match="cannot be run"):
        run_vivado(tool, tmp_path / "x.tcl", tmp_path / "run", 2, ignore)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("ERROR: [Synth 8-439] module 'a' not found", ("Synth 8-439", "module 'a' not found")),
        ("ERROR: [Common 17-39] 'x' failed due to earlier errors.", None),
        ("CRITICAL WARNING: [BD 41-1] ERROR in the text", None),
        ("INFO: [x 1-1] ERROR: [y 2-2] quoted", None),
    ],
)
def test_first_error(line: str, found: tuple[str, str] | None):
    assert first_error(["INFO: [x 1-1] begin", line]) == found
