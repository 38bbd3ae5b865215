"""Costs and logic depth of a build directory, from its Verilog mapped by Yosys."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from fpga_gen.boards import Resources
from fpga_gen.builddir.artifacts import BuildDir
from fpga_gen.contract.modules import TOP
from fpga_gen.hardware.common.design_hash import stamp
from fpga_gen.identity import open_build
from fpga_gen.report import Report
from fpga_gen.report.facts import ResourceFacts
from fpga_gen.report.render import enter_figures, read_report
from fpga_gen.steps import Progress, Silent, run_steps
from fpga_gen.synth.cells import Cost
from fpga_gen.synth.delays import Delays, default_delays, read_delays
from fpga_gen.synth.design import MappedDesign, analyse_design
from fpga_gen.synth.estimate import OWN_DELAYS, design_timing
from fpga_gen.synth.modules import Hierarchy, split_modules
from fpga_gen.synth.netlist import Netlist
from fpga_gen.synth.yosys import map_modules

MAX_LEVELS = 6  # LUT levels of a path meant for 300 MHz
MAX_FAN_OUT = 64


@dataclass
class SynthFlow:
    """What the steps of one synthesis have made so far."""

    directory: Path
    progress: Progress = field(default_factory=Silent)
    delays_file: Path | None = None
    times: dict[str, float] = field(default_factory=dict)
    build: BuildDir = field(init=False)
    report: Report = field(init=False)
    family: str = field(init=False)
    delays: Delays = field(init=False)
    hierarchy: Hierarchy = field(init=False)
    netlists: dict[str, Netlist] = field(init=False)
    design: MappedDesign = field(init=False)


def check_directory(flow: SynthFlow) -> None:
    """Reads and verifies the build directory."""
    from fpga_gen.generated import check_verilog  # amaranth, which `synth.known` does without

    flow.build = open_build(flow.directory)
    flow.report = read_report(flow.build)
    flow.family = flow.build.params.family
    flow.delays = (
        read_delays(flow.delays_file, flow.family)
        if flow.delays_file
        else default_delays(flow.family)
    )
    check_verilog(flow.build)
    verilog = {name: data.decode() for name, data in flow.build.rtl().items()}
    flow.hierarchy = split_modules(stamp(verilog, 0))  # results do not depend on the hash


def map_verilog(flow: SynthFlow) -> None:
    """Every distinct module through Yosys, once."""
    flow.netlists = map_modules(flow.hierarchy, flow.family)


def analyse_netlists(flow: SynthFlow) -> None:
    """Costs, paths and fan-out of the whole design."""
    flow.design = analyse_design(flow.hierarchy, flow.netlists, TOP, flow.delays)


def update_report(flow: SynthFlow) -> None:
    """The figures go into report.json and what is rendered from it."""
    resources = ResourceFacts(
        to_resources(flow.design.cost), flow.report.resources.available, "synthesised"
    )
    timing = design_timing(
        flow.design,
        flow.report.clock_mhz,
        flow.family,
        MAX_FAN_OUT,
        delays=f"file {flow.delays_file.name}" if flow.delays_file else OWN_DELAYS,
    )
    flow.build, flow.report = enter_figures(flow.build, resources=resources, timing=timing)


SYNTHESISE = (
    ("check build directory", check_directory),
    ("map Verilog (Yosys)", map_verilog),
    ("analyse netlists", analyse_netlists),
    ("update report", update_report),
)


def synthesise_build(
    directory: Path, progress: Progress | None = None, delays: Path | None = None
) -> SynthFlow:
    """Runs Yosys on the Verilog of a build directory and enters costs, depth and the timing
    estimate in its report; delays: a file of cell delays (see delays.py)."""
    return run_steps(SynthFlow(directory, progress or Silent(), delays), SYNTHESISE)


def to_resources(cost: Cost) -> Resources:
    """Whole primitives; an odd half of a BRAM36 takes a whole one."""
    return Resources(
        luts=math.ceil(cost.lut),
        flip_flops=math.ceil(cost.ff),
        dsps=math.ceil(cost.dsp),
        bram36=math.ceil(cost.bram36),
        uram=math.ceil(cost.uram),
    )
