"""From a build directory to a bitstream in it: Vivado, its reports, the deploy folder.

Read `BITSTREAM` first: the named steps, run in order and timed. Results are kept in the cache by
the digest of what goes into Vivado, so a new model on the same engine costs no new run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fpga_gen.builddir.artifacts import RTL, BuildDir, check_room, sha256, to_json
from fpga_gen.cache import cache_directory
from fpga_gen.deploy import kria
from fpga_gen.deploy.bitfile import remove_stand_ins
from fpga_gen.deploy.vivado_project import FOLDER
from fpga_gen.deploy.vivado_reports import (
    REPORTS,
    TIMING,
    block_of_pin,
    read_reports,
    worst_path,
)
from fpga_gen.deploy.vivado_run import TOOL, find_vivado, run_vivado, vivado_version
from fpga_gen.disk import make_folders, replace_file
from fpga_gen.errors import BuildDirError, ToolError
from fpga_gen.generated import check_project, unpacked
from fpga_gen.identity import open_build
from fpga_gen.report import Implementation, Report
from fpga_gen.report.render import enter_figures, read_report
from fpga_gen.steps import Progress, Silent, run_steps
from fpga_gen_host.identity import DESIGN

RUN_FOLDER = "vivado_run"
REPORT_FOLDER = "implementation"
BIT, HWH = f"{DESIGN}.bit", f"{DESIGN}.hwh"
RESULTS = (BIT, HWH, *REPORTS)


@dataclass
class BitstreamFlow:
    """What the steps have made so far. cached: no run was needed; results: content by name."""

    directory: Path
    vivado: Path | None
    jobs: int
    progress: Progress = field(default_factory=Silent)
    times: dict[str, float] = field(default_factory=dict)
    build: BuildDir = field(init=False)
    report: Report = field(init=False)
    program: Path = field(init=False)
    kept: Path = field(init=False)
    cached: bool = False
    implementation: Implementation = field(init=False)


Step = tuple[str, Callable[[BitstreamFlow], None]]


# --- the steps ------------------------------------------------------------------------------


def check_directory(flow: BitstreamFlow) -> None:
    """Reads and verifies the build directory."""
    flow.build = open_build(flow.directory)
    flow.report = read_report(flow.build)
    check_project(flow.build)
    try:
        remove_stand_ins(flow.directory)
    except OSError as error:
        raise BuildDirError(f"{flow.directory}: cannot be written: {error.strerror}") from error
    names = [BIT, HWH, *(f"{REPORT_FOLDER}/{name}" for name in REPORTS)]
    if kria.is_kria(flow.build.board):
        names += [f"{kria.FOLDER}/{name}" for name in kria.FILES]
    check_room(flow.build, names)


def find_tool(flow: BitstreamFlow) -> None:
    """The program and its version, and where its results are kept."""
    program = find_vivado(flow.vivado)
    if program is None:
        raise ToolError(TOOL, without_vivado(flow.directory))
    flow.program = program
    digest = input_digest(flow.build, vivado_version(program))
    flow.kept = cache_directory() / "bitstream" / digest


def implement(flow: BitstreamFlow) -> None:
    """The run, unless the cache has the results of an equal one."""
    flow.cached = all((flow.kept / name).is_file() for name in RESULTS)
    if flow.cached:
        return
    folder = flow.directory.resolve()
    out = folder / RUN_FOLDER / "out"
    try:
        with unpacked(flow.build, FOLDER, RTL) as sources:
            run_vivado(
                flow.program,
                sources / FOLDER / "build.tcl",
                folder / RUN_FOLDER,
                flow.jobs,
                flow.progress.detail,
            )
    except ToolError as error:
        if all((out / name).is_file() for name in REPORTS):
            # The Tcl writes the reports before it checks.
            _check_timing(flow, read_reports(out), out, error.log)
        raise
    for name in RESULTS:
        if not (out / name).is_file():
            raise ToolError(TOOL, f"ended without an error but wrote no {name}", out)
    _check_timing(flow, read_reports(out), out)
    _keep(out, flow.kept)


def read_results(flow: BitstreamFlow) -> None:
    """Reports -> figures."""
    flow.implementation = read_reports(flow.kept)
    _check_timing(flow, flow.implementation, flow.kept)


def write_deploy_folder(flow: BitstreamFlow) -> None:
    """.bit and .hwh side by side at the top of the build directory, as PYNQ wants them; reports in
    a folder; report.json, and what is rendered from it, with the new figures."""
    try:
        files = {name: (flow.kept / name).read_bytes() for name in (BIT, HWH)}
        files |= {f"{REPORT_FOLDER}/{n}": (flow.kept / n).read_bytes() for n in REPORTS}
    except OSError as error:
        raise ToolError(TOOL, f"{flow.kept}: cannot be read ({error.strerror})") from error
    files |= kria_files(flow.build, files[BIT])
    flow.build, flow.report = enter_figures(flow.build, files, implementation=flow.implementation)


def kria_files(build: BuildDir, bit: bytes) -> dict[str, bytes]:
    """The application folder, on a Kria board."""
    if not kria.is_kria(build.board):
        return {}
    made = kria.application(bit, build.board, build.params.ports, build.clock_mhz)
    return {f"{kria.FOLDER}/{name}": data for name, data in made.items()}


# --- the flow -------------------------------------------------------------------------------

BITSTREAM: tuple[Step, ...] = (
    ("check build directory", check_directory),
    ("find Vivado", find_tool),
    ("implement", implement),
    ("read reports", read_results),
    ("write deploy folder", write_deploy_folder),
)


def make_bitstream(
    directory: Path, vivado: Path | None, jobs: int, progress: Progress | None = None
) -> BitstreamFlow:
    """Bitstream and hardware hand-off for a build directory, written into it."""
    return run_steps(BitstreamFlow(directory, vivado, jobs, progress or Silent()), BITSTREAM)


# --- helpers --------------------------------------------------------------------------------


def input_digest(build: BuildDir, version: str) -> str:
    """Hex digest of all that decides on the result: Tcl, parameters, Verilog, version of Vivado."""
    names = sorted(
        n
        for n in build.files
        if n.startswith(f"{FOLDER}/") or (n.startswith("rtl/") and n.endswith(".v"))
    )
    return sha256(to_json([version, *([n, sha256(build.files[n])] for n in names)]))


def without_vivado(directory: Path) -> str:
    """What to do on a machine that has no Vivado."""
    return (
        f"not found on PATH, in XILINX_VIVADO or by --vivado. Copy {directory} to a machine with "
        f"Vivado and run there: fpga-gen bitstream {directory.name}, or without fpga-gen: "
        f"cd {directory.name} && vivado -mode batch -source {FOLDER}/build.tcl -tclargs "
        f"{RUN_FOLDER} 4, then copy {RUN_FOLDER}/out/{BIT} and {HWH} into {directory}"
    )


def _check_timing(
    flow: BitstreamFlow, implementation: Implementation, out: Path, log: Path | None = None
) -> None:
    """ToolError if the clock is missed: by which path, and what to do."""
    timing, clock = implementation.timing, implementation.clock_mhz
    if timing.met:
        return
    # The worst path of two clocks may have half a cycle: what it lacks, both halves must get.
    times = 2 if flow.build.params.double_clock else 1
    reachable = 1000 / (1000 / clock - times * min(timing.setup_slack_ns, 0.0))
    worst = worst_path(out / TIMING)
    where = ""
    if worst:
        block = block_of_pin(worst[1]) or "not in the engine"
        where = f"; worst path ({block}): {worst[0]} -> {worst[1]}"
    raise ToolError(
        TOOL,
        f"timing is not met at {clock:g} MHz (setup slack {timing.setup_slack_ns:.3f} ns, hold "
        f"slack {timing.hold_slack_ns:.3f} ns{where}): build again with --clock-mhz "
        f"{int(reachable)}",
        log,
    )


def _keep(out: Path, kept: Path) -> None:
    """Copies the results into the cache, where they count when all of them are there."""
    try:
        make_folders(kept)
        for name in RESULTS:
            replace_file(kept / name, (out / name).read_bytes())
    except OSError as error:
        raise ToolError(TOOL, f"{kept}: cannot be written ({error.strerror})") from error
