"""The report as frozen dataclasses; report.json is their JSON form and the only source of every
rendered one. Each group of figures carries its kind."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fpga_gen.boards import Resources
from fpga_gen.builddir.config import engine_options
from fpga_gen.contract.column_kinds import DSP_KIND
from fpga_gen.contract.column_kinds import KINDS as COLUMN_KINDS
from fpga_gen.report.accuracy import Accuracy
from fpga_gen.report.implementation import Implementation
from fpga_gen.report.segments import SegmentFacts
from fpga_gen.report.timeline import Timeline
from fpga_gen.report.timing import TimingFacts
from fpga_gen_host.decode import decode

if TYPE_CHECKING:
    from fpga_gen.report.notebook import Plot

SCHEMA = 3
KINDS = (
    "counted", "datasheet", "estimated", "float", "integer reference", "simulated", "synthesised",
    "implemented", "measured",
)  # fmt: skip

PRIMITIVES = {  # name in report.json: field of `Resources`
    "lut": "luts", "ff": "flip_flops", "dsp": "dsps", "bram36": "bram36", "uram": "uram",
}  # fmt: skip


UTILISATION = (
    "Utilisation: multiply-accumulates of the float network over cycles times the MAC units of the "
    "array. Nothing padded counts as work."
)


def utilisation(macs: int, cycles: int, macs_per_cycle: int) -> float:
    """Useful share of the array, see `UTILISATION`."""
    return macs / (cycles * macs_per_cycle) if cycles else 0.0


@dataclass(frozen=True)
class ModelFacts:
    """Counted on the imported float graph. macs: of all convolutions, per frame; weights: number
    of convolution weights; input_shape: (C, H, W)."""

    name: str
    sha256: str
    macs: int
    weights: int
    input_shape: tuple[int, int, int]
    kind: str = "counted"


@dataclass(frozen=True)
class BoardFacts:
    name: str
    part: str
    status: str
    kind: str = "datasheet"


@dataclass(frozen=True)
class ArrayFacts:
    """out_channels: columns by the title of their kind; exit_pixels: neighbouring pixels whose
    results leave together."""

    pixels: int
    in_channels: int
    out_channels: dict[str, int]
    macs_per_cycle: int
    modes: tuple[int, ...] = (1,)
    double_clock: bool = False
    exit_pixels: int = 1

    @property
    def option(self) -> str:
        """As the option --array takes it: pixels, inputs, columns of each kind."""
        return ",".join(map(str, self._figures))

    @property
    def options(self) -> str:
        """See `engine_options`."""
        return engine_options(
            self._figures,
            self.modes,
            double_clock=self.double_clock,
            exit_pixels=self.exit_pixels,
        )

    @property
    def _figures(self) -> tuple[int, ...]:
        columns = (self.out_channels.get(kind.title, 0) for kind in COLUMN_KINDS)
        return (self.pixels, self.in_channels, *columns)

    @property
    def columns(self) -> str:
        fast = {DSP_KIND.title: " at twice the clock"} if self.double_clock else {}
        return " + ".join(
            f"{n} {kind}{fast.get(kind, '')}" for kind, n in self.out_channels.items()
        )


@dataclass(frozen=True)
class Performance:
    """One frame. utilisation: 0..1; DRAM bytes per frame, program and weights included."""

    cycles: int
    fps: float
    utilisation: float
    dram_read_bytes: int
    dram_write_bytes: int

    @property
    def latency_ms(self) -> float:
        """Milliseconds from the start of a frame to its result: frames do not overlap."""
        return 1e3 / self.fps

    def _repr_html_(self) -> str:
        from fpga_gen.report.notebook import performance_section

        return performance_section(self)


@dataclass(frozen=True)
class Estimate(Performance):
    """dram_lower_bound_bytes: weights and input once, outputs once; read_bytes_per_cycle: what DRAM
    is taken to give; skipped_macs, skipped_bytes: what zero skipping leaves out, neither counted as
    work nor as traffic."""

    dram_lower_bound_bytes: int = 0
    read_bytes_per_cycle: float = 0.0
    skipped_macs: int = 0
    skipped_bytes: int = 0
    kind: str = "estimated"


@dataclass(frozen=True)
class Simulation(Performance):
    """One frame through the generated RTL. tensors_compared: maps equal to the integer reference
    in every element; wall_seconds: run time of the simulation; starts: cycle at which each
    instruction of the report's timeline was dispatched."""

    bit_exact: bool = False
    tensors_compared: int = 0
    wall_seconds: float = 0.0
    image: str = ""
    counters: dict[str, int] = field(default_factory=dict)
    starts: tuple[int, ...] = ()
    kind: str = "simulated"


@dataclass(frozen=True)
class LayerFacts:
    """One layer of the schedule. mapping: how the array is used; macs: of the float layer;
    utilisation: 0..1; dram_bytes: read and written for this layer; dram_bound_bytes: what it
    must move at least (counted); label: what the model calls it, where that says more than its
    name; shape: of its result, or of the map that it loads or stores, (C, H, W); slots: weight
    slots of all its column groups, of which skipped_slots hold zeros alone and cost nothing:
    skipped_macs, skipped_bytes."""

    name: str
    op: str
    mapping: str
    macs: int
    cycles: int
    utilisation: float
    dram_bytes: int
    onnx_name: str = ""
    dram_bound_bytes: int = 0
    label: str = ""
    shape: tuple[int, ...] = ()
    slots: int = 0
    skipped_slots: int = 0
    skipped_macs: int = 0
    skipped_bytes: int = 0
    kind: str = "estimated"

    @property
    def title(self) -> str:
        """Its name for readers."""
        return self.label or self.name

    @property
    def shape_text(self) -> str:
        """Such as '64 x 88 x 88'."""
        return " x ".join(map(str, self.shape))


@dataclass(frozen=True)
class MemoryFacts:
    """Bytes of on-chip feature-map memory. peak: used by the allocation; live: what any
    allocation needs, reached in layer `at`."""

    capacity_bytes: int
    peak_bytes: int
    live_bytes: int
    at: str
    kind: str = "counted"


@dataclass(frozen=True)
class ResourceFacts:
    """Primitives of the engine beside those of the board. source: where the figures come from, if
    the kind does not say it all."""

    used: Resources
    available: Resources
    kind: str = "estimated"
    source: str = ""

    @property
    def origin(self) -> str:
        """Kind and source, such as 'synthesised, from the table of mapped blocks'."""
        return ", ".join(filter(None, (self.kind, self.source)))


@dataclass(frozen=True, repr=False)
class Report:
    """Everything known about one build. quantisation: facts of the quantiser (measured on the
    calibration images); accuracy: of the last evaluation on a labelled folder; implementation: of
    the bitstream; segments: of a network whose maps spill; pictures: SHA-256 by name of the PNG
    files in the build directory that belong to these figures."""

    model: ModelFacts
    board: BoardFacts
    clock_mhz: float
    array: ArrayFacts
    estimate: Estimate
    memory: MemoryFacts
    resources: ResourceFacts
    layers: tuple[LayerFacts, ...]
    timeline: Timeline
    quantisation: dict
    tool_version: str
    simulation: Simulation | None = None
    accuracy: Accuracy | None = None
    implementation: Implementation | None = None
    timing: TimingFacts | None = None
    segments: tuple[SegmentFacts, ...] = ()
    pictures: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def plots(self) -> dict[str, Plot]:
        """The charts of report.html by name, as pictures for Jupyter."""
        from fpga_gen.report.notebook import plots

        return plots(self)

    def __repr__(self) -> str:
        cost = self.simulation or self.estimate
        name = f"{self.model.name} on {self.board.name}"
        return f"<report: {name}, {cost.fps:,.1f} frame/s, {cost.kind}>"

    def _repr_html_(self) -> str:
        from fpga_gen.report.notebook import report_section

        return report_section(self)

    def to_dict(self) -> dict:
        """JSON-able form, lists for tuples."""
        data = _plain(asdict(self))
        used, available = data["resources"]["used"], data["resources"]["available"]
        data["resources"] = {
            name: {"used": used[key], "available": available[key]}
            for name, key in PRIMITIVES.items()
        } | {"kind": self.resources.kind, "source": self.resources.source}
        if self.timing is not None:
            timing = _from_to(data["timing"])
            lists = {key: [_from_to(path) for path in timing[key]] for key in ("paths", "classes")}
            data["timing"] = timing | lists
        return data

    @staticmethod
    def from_dict(data: dict) -> Report:
        """Inverse of `to_dict`; ValueError names what does not fit."""
        if data.get("schema") != SCHEMA:
            raise ValueError(
                f"schema {data['schema']}, this version reads {SCHEMA}"
                if "schema" in data
                else "not a report: schema is missing"
            )
        try:
            values = {**data, "resources": _resources(data["resources"])}
            if data.get("timing") is not None:
                timing = _start_end(data["timing"])
                for key in ("paths", "classes"):
                    timing[key] = [_start_end(path) for path in timing.get(key, ())]
                values["timing"] = timing
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a report: {error!r}") from error
        try:
            return decode(Report, values)
        except ValueError as error:
            raise ValueError(f"not a report: {error}") from error


def _resources(data: dict) -> dict:
    """Used and available primitives in the form that `dataclasses.asdict` gives."""
    sides = {
        side: {key: data[name][side] for name, key in PRIMITIVES.items()}
        for side in ("used", "available")
    }
    return {**sides, "kind": data["kind"], "source": data.get("source", "")}


def _from_to(path: dict) -> dict:
    """A path of a dataclass under the names that report.json has for its ends."""
    return {{"start": "from", "end": "to"}.get(key, key): value for key, value in path.items()}


def _start_end(path: dict) -> dict:
    """Inverse of `_from_to`."""
    values = dict(path)
    return {"start": values.pop("from"), "end": values.pop("to"), **values}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity; an exact layer has an infinite ratio
    return value
