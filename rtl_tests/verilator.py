"""Runs a cocotb test module on an Amaranth component, or a bench in C++, compiled by Verilator."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from amaranth.back import verilog
from cocotb_tools.runner import get_results, get_runner
from filelock import FileLock

from fpga_gen.simulate.toolchain import shared_runtime, verilator_environment

CACHE = Path(__file__).parent / "build"  # ignored by git; keyed by contents

BUILD_ARGS = ("-Wno-fatal", "-O3", "--output-split", "20000")
# A testbench in Python waits for itself, not for the design: what counts is the time to compile.
MAKE_SETTINGS = ("VM_PARALLEL_BUILDS=0", "OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """cocotb's runner takes its environment from the process."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run_cocotb(component, module: str, out: Path, seed: int = 1) -> int:
    """Compile `component` (cached), run all tests of `module`; returns how many passed.

    Args:
        component: a wiring.Component; becomes the Verilog module `top`.
        module: import name of the cocotb test module.
        out: folder for the log and the results.

    Raises:
        AssertionError: a cocotb test failed, or none ran.
    """
    text = verilog.convert(component, name="top", strip_internal_attrs=True)
    return run_cocotb_on({"top.v": text}, "top", module, out, seed)


def run_cocotb_on(files: dict[str, str], top: str, module: str, out: Path, seed: int = 1) -> int:
    """Like `run_cocotb`, but on Verilog and control files {name: text} with the module `top`."""
    tools = f"{version('verilator')} {version('cocotb')} {BUILD_ARGS} {MAKE_SETTINGS}"
    text = "\n".join(f"{name}\n{content}" for name, content in files.items())
    build = CACHE / hashlib.sha256(f"{tools}\n{top}\n{text}".encode()).hexdigest()[:16]
    results = out / "results.xml"
    environment = verilator_environment()
    environment["MAKEFLAGS"] += " " + " ".join(MAKE_SETTINGS)
    with _environment(environment):
        runner = get_runner("verilator")
        _build(runner, files, top, build, out / "build.log")
        with suppress(SystemExit):  # raised for failed tests, counted below
            runner.test(
                test_module=module,
                hdl_toplevel=top,
                hdl_toplevel_lang="verilog",
                build_dir=build,
                test_dir=out,
                results_xml=str(results),
                seed=seed,
                log_file=out / "test.log",
                extra_env={"COCOTB_LOG_LEVEL": "WARNING"},
            )
    assert results.exists(), f"the simulation of {module} crashed, see {out / 'test.log'}"
    total, failed = get_results(results)
    assert failed == 0, f"{failed} of {total} tests of {module} failed, see {out / 'test.log'}"
    assert total > 0, f"{module} has no tests"
    return total


def _build(runner, files: dict[str, str], top: str, build: Path, log: Path) -> None:
    """Compile into `build` once; other processes that run tests wait for it."""
    CACHE.mkdir(exist_ok=True)
    with FileLock(build.with_suffix(".lock")):
        if (build / "complete").exists():
            return
        build.mkdir(parents=True, exist_ok=True)
        pins = f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'
        for name, content in {**files, "pins.vlt": pins}.items():
            (build / name).write_text(content)
        controls = [str(path) for path in sorted(build.glob("*.vlt"))]
        with shared_runtime(_runtime("cocotb"), build):
            runner.build(
                sources=[build / name for name in files if name.endswith(".v")],
                hdl_toplevel=top,
                build_dir=build,
                timescale=("1ns", "1ps"),
                # Of all signals the testbench needs the pins alone: the rest may be optimised.
                build_args=["--no-public-flat-rw", *controls, *BUILD_ARGS],
                log_file=log,
            )
        (build / "complete").touch()


def _runtime(kind: str) -> Path:
    """Folder of the objects of Verilator's library that simulators of one kind share."""
    return CACHE / "runtime" / f"{kind}-{version('verilator')}-{version('cocotb')}"


def run_bench(folder: Path, files: Mapping[str, str]) -> str:
    """Write the files {name: text} into `folder`, Verilog with the module `bench` and its C++ main
    program; compile and run them; returns what it printed."""
    for name, text in files.items():
        (folder / name).write_text(text)
    obj = folder / "obj"
    environment = verilator_environment()
    command = ["verilator_bin", "--cc", "--exe", "-Wno-fatal", "-Wno-lint", "-O1",
               "--Mdir", "obj", "--top-module", "bench", *files]  # fmt: skip
    _run(command, folder, environment)
    with shared_runtime(_runtime("bench"), obj):
        _run(["make", "-f", "Vbench.mk", "Vbench", *MAKE_SETTINGS], obj, environment)
    return subprocess.run([obj / "Vbench"], cwd=folder, capture_output=True, text=True).stdout


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
