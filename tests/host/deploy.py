"""Deploy folders of small networks, and the simulated RTL as a device that counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fpga_gen.builddir.artifacts import to_json, write_build
from fpga_gen.builddir.layout_file import host_layout
from fpga_gen.contract.numerics import I8, U8
from fpga_gen.images import Preprocess
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen_host import registers as r
from fpga_gen_host.deployment import own_identity
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.registers import INTERFACE_VERSION
from tests.engines import SMALL
from tests.schedule.graphs import Builder

RESIZE = {
    "size": [24, 28],
    "scales": [2.0, 2.0],
    "mode": "linear",
    "coordinate_transformation_mode": "half_pixel",
    "nearest_mode": "floor",
}


def picture_network() -> QuantGraph:
    """RGB picture 12 x 14 -> one-channel map, resized and squashed on the host."""
    b = Builder("picture", SMALL)
    x = b.simple(b.input(3, 12, 14), 7, 3, U8)
    x = b.simple(x, 5, 3, U8)
    b.simple(x, 1, 1, I8)
    graph = b.graph()
    tail = (
        HostOp("resize", graph.outputs[0], RESIZE),
        HostOp("sigmoid", graph.outputs[0], {}),
    )
    return replace(graph, output_names=("mask",), host_ops=tail)


def write_deploy(
    path: Path, graph: QuantGraph, preprocess: Preprocess = Preprocess(), design_hash: int = 0
) -> Path:
    """Compiles a network for the small engine into a deploy folder without a bitstream."""
    schedule = compile_schedule(graph, SMALL)
    files = {
        "program.bin": schedule.program,
        "weights.bin": schedule.weights,
        "layout.json": to_json(host_layout(schedule, graph, preprocess)),
    }
    facts = {
        "design_hash": f"{design_hash:016x}",
        "identity": own_identity(),
        "register_map": INTERFACE_VERSION,
        "clock_mhz": 100.0,
        "parameters": SMALL.to_dict(),
    }
    write_build(path, files, facts)
    return path


class RtlDevice(SimulatedDevice):
    """The simulated accelerator. starts: start commands given to it."""

    starts = 0

    def write(self, offset: int, value: int) -> None:
        self.starts += offset == r.CONTROL and bool(value & r.CONTROL_START_MASK)
        super().write(offset, value)
