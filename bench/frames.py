"""Whole networks on whole boards: RTL where asked for, the cycle model otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row
from fpga_gen import pipeline
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.errors import FpgaGenError
from fpga_gen.flows.simulate import simulate_build
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen.report import Report
from fpga_gen.steps import Progress

PICTURE_SEED = 100


@dataclass(frozen=True)
class Machine:
    """An engine of automatic sizing; double_clock: its DSP columns at twice the clock."""

    board: str = "zcu104"
    double_clock: bool = False

    @property
    def name(self) -> str:
        return self.board + (", DSPs at twice the clock" if self.double_clock else "")


@dataclass(frozen=True)
class Published:
    """A figure of the vendor. fps: one frame at a time, and with many threads in flight."""

    machine: str
    multipliers: int
    fps: tuple[float, float]
    source: str


@dataclass(frozen=True)
class Work:
    """A network of the `models` package. size: height and width, or both; file: its trained form in
    this repository, if any; rtl: it is simulated where that is asked for."""

    title: str
    model: str
    size: int | tuple[int, int]
    file: str = ""
    published: tuple[Published, ...] = ()
    machines: tuple[Machine, ...] = (Machine(),)
    rtl: bool = True


_ZOO = "Vitis AI model zoo 2.0 and 2.5, HardNet_MSeg 352x352, pre- and post-processing on the ARM"
_SMALL = (Machine("ultra96v2"), Machine("pynq-z2"))
_FAST = (Machine(double_clock=True),)
FRAMES = (
    Work(
        "HarDNet-MSEG 352x352",
        "hardnet-mseg",
        352,
        "models/pretrained/hardnet-mseg.onnx",
        (
            Published("DPU 2 x B4096, ZCU104, 300 MHz", 4096, (26.4, 53.1), _ZOO),
            Published("DPU 3 x B4096, ZCU102, 281 MHz", 6144, (24.7, 60.1), _ZOO),
            Published("DPU B4096F, KV260, 300 MHz", 2048, (26.7, 27.6), _ZOO),
        ),
        (
            *(Machine(board, fast) for board in ("zcu104", "kv260") for fast in (False, True)),
            *_SMALL,
            Machine("zc706"),
        ),
    ),
    Work("HarDNet-68 224x224", "hardnet-68", 224, machines=(Machine(), *_SMALL)),
    Work("HarDNet-85 224x224", "hardnet-85", 224),
    Work("HarDNet-39DS 224x224", "hardnet-39ds", 224),
    Work("SSD300-HarDNet-68", "ssd300-hardnet68", 300, machines=_FAST),
    Work("SSD512-HarDNet-85", "ssd512-hardnet85", 512, machines=_FAST, rtl=False),
    Work("CenterNet-HarDNet-85 512x512", "centernet-hardnet85", 512, machines=_FAST, rtl=False),
    Work(
        "FC-HarDNet-70 512x1024, classes at 1/4",
        "fc-hardnet70-classes",
        (512, 1024),
        machines=_FAST,
    ),
    Work(
        "FC-HarDNet-70 1024x2048, classes at 1/4",
        "fc-hardnet70-classes",
        (1024, 2048),
        machines=_FAST,
        rtl=False,
    ),
    Work("YOLOv3-tiny 416x416", "yolov3-tiny", 416, machines=(Machine("kv260"),), rtl=False),
)


def frame_rows(
    work: Work, model: Path, folder: Path, rtl: bool, progress: Progress
) -> Iterator[Row]:
    """This engine on its boards with the lower bounds, and what is published.

    folder: for the builds and the picture of an RTL run.
    """
    for machine in work.machines:
        config = BuildConfig(model=model, board=machine.board, double_clock=machine.double_clock)
        name = f"fpga-gen on {machine.name}"
        try:
            whole = rtl and work.rtl
            report = _simulate(config, folder, progress) if whole else _estimate(config, progress)
        except FpgaGenError as error:
            yield Row(work.title, name, "estimated", note=f"refused: {error}")
        else:
            yield _own(work, name, report)
            yield _bound(work, machine.name, report)
    for figure in work.published:
        for fps, how in zip(figure.fps, ("one frame at a time", "many threads"), strict=True):
            yield Row(
                work.title,
                figure.machine,
                "published",
                multipliers=figure.multipliers,
                fps=fps,
                note=f"{how}; {figure.source}",
            )


def _estimate(config: BuildConfig, progress: Progress) -> Report:
    return pipeline.estimate(config, progress).report


def _simulate(config: BuildConfig, folder: Path, progress: Progress) -> Report:
    engine = f"{config.board}-double" if config.double_clock else config.board
    target, picture = folder / f"{config.model.stem}-{engine}", folder / "phantom.png"
    write_png(picture, draw_phantom(352, 352, PICTURE_SEED)[0])
    pipeline.build(config, target, progress)
    return simulate_build(target, picture, progress=progress).report


def _own(work: Work, machine: str, report: Report) -> Row:
    sim = report.simulation
    cost = sim or report.estimate
    array = report.array
    shape = (
        f"{array.pixels} px x {array.in_channels} in x ({array.columns}), {report.clock_mhz:g} MHz"
    )
    if sim is not None:
        off = 100 * (report.estimate.cycles / sim.cycles - 1)
        shape += f"; bit-exact: {'yes' if sim.bit_exact else 'NO'}; model {off:+.2f} %"
    return Row(
        work.title,
        machine,
        cost.kind,
        multipliers=array.macs_per_cycle,
        cycles=cost.cycles,
        dram_bytes=cost.dram_read_bytes + cost.dram_write_bytes,
        fps=cost.fps,
        macs=report.model.macs,
        note=shape,
    )


def _bound(work: Work, machine: str, report: Report) -> Row:
    """All multipliers busy, or all bytes at the DRAM's sustained rate, whichever takes longer."""
    by_macs = math.ceil(report.model.macs / report.array.macs_per_cycle)
    moved = report.estimate.dram_lower_bound_bytes
    by_bytes = math.ceil(moved / report.estimate.read_bytes_per_cycle)
    cycles = max(by_macs, by_bytes)
    return Row(
        work.title,
        f"lower bound of this array on {machine}",
        "bound",
        multipliers=report.array.macs_per_cycle,
        cycles=cycles,
        dram_bytes=moved,
        fps=report.clock_mhz * 1e6 / cycles,
        macs=report.model.macs,
        note=f"{'multipliers' if by_macs >= by_bytes else 'DRAM'} limit; weights, image and "
        "result once, unpadded",
    )
