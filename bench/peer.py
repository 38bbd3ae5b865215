"""NNgen 1.3.4 on a work: generated in its own environment, simulated with our Verilator."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.networks import draw_input
from bench.small import sqnr_db
from fpga_gen.builddir.artifacts import sha256
from fpga_gen.errors import SimulationError, ToolError
from fpga_gen.simulate.toolchain import verilator_environment, verilator_root

SCRIPT = Path(__file__).with_name("nngen_peer.py")
BEAT = 16  # bytes
MINUTES_LIMIT = 20
FIGURES = ("cycles", "read_beats", "write_beats")
VERILATE = (
    "--binary", "--timing", "-O3", "-fno-dfg", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--top-module", "test", "-j", "2",
    "--Mdir", "obj", "--output-split", "20000",
    "-MAKEFLAGS", "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1",
)  # fmt: skip


@dataclass(frozen=True)
class PeerResult:
    """Simulated. sqnr_db: of the result against the float network; exact: the simulated result
    equals NNgen's own software reference."""

    cycles: int
    dram_bytes: int
    sqnr_db: float
    exact: bool


def run_nngen(python: Path, model: Path, exact: np.ndarray, cache: Path) -> PeerResult:
    """NNgen's accelerator for a model, simulated.

    python: of its environment; exact: the float result; cache: folder that keeps the compiled
    simulation. ToolError names the step that failed.
    """
    folder = _compiled(python, model, cache)
    text = _call("NNgen's simulation", [str(folder / "obj" / "Vtest")], cwd=folder)
    figures = {k: int(v) for k, v in re.findall(r"(\w+)\s+(\d+)", text) if k in FIGURES}
    if set(figures) != set(FIGURES):
        raise SimulationError(f"NNgen's simulation printed no {', '.join(FIGURES)}")
    facts = json.loads((folder / "facts.json").read_text())
    found = _result(folder / "result.hex", facts)
    reference = np.array(facts["reference"]).reshape(facts["shape"])
    return PeerResult(
        cycles=figures["cycles"],
        dram_bytes=BEAT * (figures["read_beats"] + figures["write_beats"]),
        sqnr_db=sqnr_db(exact, found / facts["scale"]),
        exact=bool(np.array_equal(found, reference)),
    )


def _compiled(python: Path, model: Path, cache: Path) -> Path:
    """Folder with the test bench and its compiled simulation."""
    parts = [
        SCRIPT.read_bytes(),
        model.read_bytes(),
        draw_input().tobytes(),
        str(VERILATE).encode(),
    ]
    target = cache.resolve() / f"nngen-{sha256(b''.join(parts))[:16]}"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nngen-", dir=cache) as name:
        folder = Path(name).resolve() / "work"
        folder.mkdir()
        np.save(folder / "input.npy", draw_input())
        inputs = [str(model), str(folder / "input.npy"), str(folder)]
        _call("NNgen", [str(python), str(SCRIPT), *inputs])
        _verilate(folder)
        folder.rename(target)
    return target


def _result(path: Path, facts: dict) -> np.ndarray:
    """int64 (C, H, W) of the memory dump, which holds pixels of aligned channels."""
    lines = [line for line in path.read_text().split() if not line.startswith(("@", "//"))]
    values = np.array([int(v, 16) for v in lines], np.uint8).view(np.int8).astype(np.int64)
    channels, height, width = facts["shape"]
    return values.reshape(height, width, -1)[:, :, :channels].transpose(2, 0, 1)


def _verilate(folder: Path) -> None:
    environment = verilator_environment()
    # the test bench has delays, which Verilator runs as coroutines of C++20
    environment["MAKEFLAGS"] = environment["MAKEFLAGS"].replace("gnu++17", "gnu++20")
    command = [str(verilator_root() / "bin" / "verilator_bin"), *VERILATE, "test.v"]
    _call("verilator", command, folder, environment)


def _call(
    tool: str, command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None
) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60 * MINUTES_LIMIT
        )
    except OSError as error:
        raise ToolError(tool, f"{command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(tool, f"not finished after {MINUTES_LIMIT} minutes") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["failed without a message"]
        raise ToolError(tool, lines[-1])
    return done.stdout
