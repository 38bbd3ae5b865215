"""Runs build.tcl in tclsh against a recorder of Vivado's commands."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

RECORDER = Path(__file__).with_name("recorder.tcl")
SECONDS = 60
INTERPRETER = "tclsh"  # its absence ends a test run at its beginning: tools/prerequisites.py


@dataclass(frozen=True)
class Recording:
    """calls: commands with their arguments, in order; output: what the script printed."""

    status: int
    output: str
    calls: tuple[tuple[str, ...], ...]

    def of(self, *names: str) -> list[tuple[str, ...]]:
        """Arguments of the calls of these commands."""
        return [call[1:] for call in self.calls if call[0] in names]


def record(folder: Path, script: Path, ports: list[str], fail: str = "") -> Recording:
    """Runs the project's build.tcl against the recorder. ports: pins of the Verilog."""
    log = folder / "calls.json"
    environment = {
        **os.environ,
        "RECORD": str(log),
        "PORTS": " ".join(ports),
        "SCRIPT": str(script),
        "RUN": str(folder / "run"),
        "FAIL": fail,
    }
    done = subprocess.run(
        [INTERPRETER, str(RECORDER)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    lines = log.read_text().splitlines() if log.is_file() else []
    return Recording(
        done.returncode, done.stdout + done.stderr, tuple(tuple(json.loads(line)) for line in lines)
    )
