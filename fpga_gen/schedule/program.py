"""The result of scheduling: program, regions, layouts, placements and facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from fpga_gen.contract.isa import Instruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.cycles.model import ModelRun
from fpga_gen.schedule.lower.lowered import Skipped
from fpga_gen.schedule.lower.placement import Placement
from fpga_gen.schedule.place.lifetimes import MapLife
from fpga_gen_host.regions import InputLayout, OutputLayout


@dataclass(frozen=True)
class LayerCost:
    """One layer. mapping: pixels x channels of the array; macs: unpadded multiply-accumulates;
    cycles: model, from the first to the last cycle that the layer holds the array; dram_bytes:
    stream bytes it takes (weights or input) or writes; dram_bound_bytes: the same without any
    padding; skipped: weight slots that are left out and what they would cost; utilisation:
    executed macs / (cycles x peak)."""

    name: str
    onnx_name: str
    op: str
    mapping: str
    macs: int
    cycles: int
    dram_bytes: int
    dram_bound_bytes: int
    utilisation: float
    skipped: Skipped = Skipped()


@dataclass(frozen=True)
class FrameCost:
    """Cycle model and exact traffic of one frame.

    read_bytes: program, weights and input; write_bytes: outputs; lower_bound_bytes: weights at
    their stored width, image and results without any padding; macs: of all layers; skipped: what
    zero skipping leaves out of them.
    """

    cycles: int
    read_bytes: int
    write_bytes: int
    lower_bound_bytes: int
    macs: int
    utilisation: float
    skipped: Skipped = Skipped()

    def frames_per_second(self, clock_hz: float) -> float:
        return clock_hz / self.cycles


@dataclass(frozen=True)
class SegmentCost:
    """Layers that run band by band between transfers of maps. layers: names in order; bands: of the
    last map. Bytes: loaded and stored: of maps, the picture and the results among them; weights:
    with what is read again for every band. bound_bytes: the weights once, at their stored width,
    and once every map that another segment wrote or that leaves the chip, all in whole words: what
    any bands of these layers move, with the same maps on chip."""

    layers: tuple[str, ...]
    bands: int
    loaded_bytes: int
    stored_bytes: int
    weight_bytes: int
    bound_bytes: int


@dataclass(frozen=True)
class MemoryUse:
    """Words of feature-map memory. live: lower bound of any allocation; at: the layer there."""

    capacity_words: int
    peak_words: int
    live_words: int
    at: str
    word_bytes: int


@dataclass(frozen=True)
class TracePoint:
    """`placement` holds (rows of) its tensor once instruction `after` is in memory."""

    after: int
    placement: Placement

    @property
    def tensor(self) -> str:
        return self.placement.tensor


@dataclass(frozen=True)
class Schedule:
    """Everything the engine and the host need for one network.

    program, weights: DRAM regions of whole stream words, striped over the read ports (see
    layout.stripe), the weights made when they are first asked for; program: 64-bit little-endian
    words, as many as the program memory holds; the pages with the others lie among the weights, in
    the order of use (see pages). trace: in program order. timeline: one span for each instruction;
    lives: of the maps on chip; read_rate: bytes per cycle that the stream reads in the model;
    segments: of a network that spills.
    """

    name: str
    params: EngineParams
    instructions: tuple[Instruction, ...]
    program: bytes
    make_weights: Callable[[], bytes] = field(compare=False, repr=False)
    host_input: InputLayout
    host_output: OutputLayout
    layers: tuple[LayerCost, ...]
    estimate: FrameCost
    memory: MemoryUse
    trace: tuple[TracePoint, ...]
    timeline: ModelRun
    lives: tuple[MapLife, ...]
    read_rate: float
    segments: tuple[SegmentCost, ...] = ()

    @cached_property
    def weights(self) -> bytes:
        """The weight region."""
        return self.make_weights()
