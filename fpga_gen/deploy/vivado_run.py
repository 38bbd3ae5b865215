"""One run of Vivado: find it, start it, follow its output, explain its failure."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from fpga_gen.errors import ToolError

TOOL = "vivado"
LOG = "vivado.log"
STEP = re.compile(r"^fpga-gen: step (\d+)/(\d+): (.+)$")
ERROR = re.compile(r"^(?:ERROR|FATAL_ERROR|CRITICAL ERROR): ?\[(?P<id>[^]]+)\] ?(?P<text>.+)")
# "Failed due to earlier errors" and our own last line only repeat what stands elsewhere.
ECHOES = re.compile(r"^(Common 17-39|Common 17-69|Vivado 12-13638|fpga-gen 1-2)$")
VERSION = re.compile(r"^(?:Vivado|vivado) v?(\d+\.\d+(?:\.\d+)?)", re.MULTILINE)
OLDEST = (2020, 2)  # IP Integrator commands used by the Tcl; not tried with any version
VERSION_SECONDS = 120

Progress = Callable[[str, float], None]


def find_vivado(given: Path | None) -> Path | None:
    """The program: `given` (it or its installation folder), else on PATH, else XILINX_VIVADO.

    Raises:
        ToolError: `given` holds no program.
    """
    if given is not None:
        for path in (given, given / "bin" / TOOL):
            if path.is_file() and os.access(path, os.X_OK):
                return path.resolve()
        raise ToolError(TOOL, f"no program at {given}: give the path of bin/vivado")
    found = shutil.which(TOOL)
    if found:
        return Path(found)
    home = os.environ.get("XILINX_VIVADO")
    path = Path(home or "") / "bin" / TOOL
    return path if home and os.access(path, os.X_OK) else None


def vivado_version(program: Path) -> str:
    """'2023.1'; ToolError if it does not start, or is too old for the Tcl."""
    try:
        done = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=VERSION_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(TOOL, f"{program} -version does not run: {error}") from error
    match = VERSION.search(done.stdout)
    if done.returncode or not match:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise ToolError(TOOL, f"{program} -version gives no version: {last}")
    version = match[1]
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise ToolError(TOOL, f"version {version} is too old, {OLDEST[0]}.{OLDEST[1]} is needed")
    return version


def run_vivado(
    program: Path, script: Path, run_folder: Path, jobs: int, progress: Progress
) -> None:
    """Runs build.tcl, which leaves its results in run_folder/out.

    Everything that Vivado prints goes to LOG beside run_folder, which the script empties first.

    Raises:
        ToolError: with the first real error and the path of the log.
    """
    log = run_folder.with_name(LOG)
    command = [
        program, "-mode", "batch", "-nolog", "-nojournal", "-notrace", "-source", script,
        "-tclargs", run_folder, str(jobs),
    ]  # fmt: skip
    try:
        status = _follow([str(part) for part in command], run_folder.parent, log, progress)
    except OSError as error:
        raise ToolError(TOOL, f"cannot be run: {error}", log) from error
    if status:
        raise ToolError(TOOL, explain(status, log, run_folder), log)


def _follow(command: list[str], folder: Path, log: Path, progress: Progress) -> int:
    """Exit status. The tool runs in a process group of its own, which ends with this process."""
    with (
        log.open("w") as stream,
        subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                stream.write(line)
                stream.flush()
                match = STEP.match(line)
                if match:
                    number, count = int(match[1]), int(match[2])
                    progress(match[3], (number - 1) / max(count, 1))
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def first_error(lines: Iterable[str]) -> tuple[str, str] | None:
    """(id, text) of the first error that is not an echo of an earlier one."""
    for line in lines:
        match = ERROR.match(line)
        if match and not ECHOES.match(match["id"]):
            return match["id"], match["text"].strip()
    return None


def explain(status: int, log: Path, run_folder: Path) -> str:
    """Why the tool failed, in one line: its own log first, then those of its runs."""
    own = log.read_text(errors="replace").splitlines()
    runs = sorted(run_folder.glob("project/*.runs/*/runme.log"), key=lambda p: p.stat().st_mtime)
    for lines in (own, *(path.read_text(errors="replace").splitlines() for path in runs)):
        found = first_error(lines)
        if found:
            return f"[{found[0]}] {found[1]}"
    ours = [match["text"] for match in map(ERROR.match, own) if match]
    if ours:
        return ours[0].strip()
    last = next((line.strip() for line in reversed(own) if line.strip()), "it printed nothing")
    if status < 0:
        return f"ended by {signal.Signals(-status).name}, last line: {last}"
    return f"ended with status {status}, last line: {last}"
