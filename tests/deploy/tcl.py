"""A Tcl interpreter for tests: tkinter's, or tclsh."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

RECORDER = Path(__file__).with_name("recorder.tcl")
SECONDS = 60
# The interpreter of tkinter.Tcl() has no `exit`.
_IN_PYTHON = """
import os, sys, tkinter
tcl = tkinter.Tcl()
def leave(status="0"):
    tcl.eval("flush stdout")
    os._exit(int(status))
tcl.createcommand("exit", leave)
tcl.eval("source {" + sys.argv[1] + "}")
"""


def interpreter() -> list[str] | None:
    """Command line that runs a script, or None where there is no Tcl."""
    if importlib.util.find_spec("_tkinter"):
        return [sys.executable, "-c", _IN_PYTHON]
    found = shutil.which("tclsh") or shutil.which("tclsh8.6")
    return [found] if found else None


MISSING = "no Tcl interpreter: apt-get install tcl"


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
    command = interpreter()
    assert command is not None
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
        [*command, str(RECORDER)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    lines = log.read_text().splitlines() if log.is_file() else []
    return Recording(
        done.returncode, done.stdout + done.stderr, tuple(tuple(json.loads(line)) for line in lines)
    )
