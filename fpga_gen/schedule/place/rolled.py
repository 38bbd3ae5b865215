"""The plan of a network that spills: segment by segment, band by band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fpga_gen.contract.isa import Region
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.lower.placement import Home
from fpga_gen.schedule.place.plan import (
    FusedSegment,
    MapBuffer,
    Move,
    Plan,
    Rows,
    Step,
    Transfer,
    input_rows,
)
from fpga_gen.schedule.place.residence import Offer, Residence
from fpga_gen.schedule.place.rolling import BandRows
from fpga_gen.schedule.place.segments import Segments, buffer_layout, home_layout
from fpga_gen_host.regions import MapLayout

HOME_ALIGN = 64  # bytes: every map in DRAM starts on a boundary of its own


class PlanBuilder:
    """Steps and buffers. on_chip: buffers of the maps that are there as a whole between two
    segments; alone: a buffer's memory is free behind its STORE, for which the next writer waits."""

    def __init__(self, segments: Segments, state: Residence, *, alone: bool) -> None:
        self._segments, self._state, self._alone = segments, state, alone
        qgraph, params = segments.qgraph, segments.params
        self._steps: list[Step | Transfer | Move] = []
        self._buffers: dict[str, MapBuffer] = {}
        self._on_chip: dict[str, str] = {}
        self._homes = {
            qgraph.input: Home(home_layout(qgraph.tensors[qgraph.input], params), Region.INPUT, 0)
        }
        at = 0
        leaving = [n for n in qgraph.tensors if not state.is_own(n) and not state.stays(n)]
        for name in dict.fromkeys((*qgraph.outputs, *leaving)):
            if name in self._homes:
                continue
            layout = home_layout(qgraph.tensors[name], params)
            self._homes[name] = Home(layout, Region.OUTPUT, at)
            at += layout.words * params.in_channels
            at += -at % HOME_ALIGN

    def plan(self, offers: Sequence[Offer]) -> Plan:
        segments = []
        for offer in offers:
            bands = self._segment(offer)
            roll = offer.roll
            segments.append(FusedSegment(roll.first, roll.last, bands, len(self._steps)))
        return Plan(tuple(self._steps), self._buffers, self._homes, tuple(segments))

    def _present(self, name: str, first: int, last: int) -> bool:
        """The map is there as a whole while nodes [first, last] run."""
        gaps, kept = self._state.problem.gaps[name], self._state.kept
        return any(g in kept and g[1] <= last and g[2] >= first for g in gaps)

    def _whole(self, name: str, label: str) -> Rows:
        """A buffer for all rows of a map."""
        rows = (0, self._segments.qgraph.tensors[name].height)
        layout = buffer_layout(self._segments.qgraph.tensors[name], self._segments.params, rows[1])
        self._buffers[label] = MapBuffer(label, layout)
        self._on_chip[name] = label
        return rows

    def _segment(self, offer: Offer) -> int:
        """The steps of a segment, with what it loads and stores; its bands."""
        roll, alone = offer.roll, offer.alone or self._alone
        nodes = self._segments.nodes(roll)
        inner = {n.output for n in nodes}
        for name in dict.fromkeys(i for n in nodes for i in n.inputs):
            present = name not in inner and self._present(name, roll.first, roll.last)
            if present and name not in self._on_chip:
                rows = self._whole(name, f"{name}@{roll.first}")
                self._steps.append(Transfer(name, rows, self._on_chip[name], True))
        leaving = self._segments.results(roll)
        for name in leaving:
            if self._present(name, roll.first, roll.last):
                self._whole(name, name)
        windows = self._segments.windows(roll)
        bands = {
            name: _Band(
                self,
                name,
                roll.first,
                window,
                apart=name in leaving and not alone,
                loaded=name not in inner,
            )
            for name, window in windows.items()
            if name not in self._on_chip
        }
        count = windows[nodes[-1].output].end.shape[1]
        for band in range(count):
            for rolling in bands.values():
                self._steps += rolling.begin(band)
            for offset, node in enumerate(nodes):
                _, rows = windows[node.output].rows(band)
                if rows[1] > rows[0]:
                    names = (*node.inputs, node.output)
                    used = {n: bands[n].buffer if n in bands else self._on_chip[n] for n in names}
                    self._steps.append(Step(roll.first + offset, node, rows, used))
                    name = node.output
                    if name in leaving and name in bands:
                        self._steps.append(Transfer(name, rows, bands[name].buffer, False, alone))
        for name in leaving:
            if name in self._on_chip and name in self._homes:
                rows = (0, self._segments.qgraph.tensors[name].height)
                self._steps.append(Transfer(name, rows, self._on_chip[name], False, self._alone))
        for name in list(self._on_chip):
            gaps = self._state.problem.gaps[name]
            if not any(g in self._state.kept and g[1] <= roll.last < g[2] for g in gaps):
                del self._on_chip[name]
        return count

    def layout(self, name: str, window: BandRows, *, loaded: bool) -> MapLayout:
        """Of the buffers of the bands of a map; loaded: it comes from DRAM."""
        rows = self._segments.loaded_rows(name, window) if loaded else window.tall
        tensor = self._segments.qgraph.tensors[name]
        return buffer_layout(tensor, self._segments.params, int(rows[0]))

    def add_buffer(self, buffer: MapBuffer) -> None:
        self._buffers[buffer.name] = buffer


class _Band:
    """The rows of a map that are there, band by band. apart: every band has words of its own, as
    the STORE of the one before may still read; loaded: new rows come from DRAM. buffer: of the
    current band."""

    def __init__(
        self,
        builder: PlanBuilder,
        name: str,
        first: int,
        window: BandRows,
        *,
        apart: bool,
        loaded: bool,
    ) -> None:
        self._builder, self._name, self._label = builder, name, f"{name}@{first}"
        self._window, self._apart, self._loaded = window, apart, loaded
        self._layout = builder.layout(name, window, loaded=loaded)
        self._before: Rows = (0, 0)
        self.buffer = ""

    def begin(self, band: int) -> list[Transfer | Move]:
        """What brings the rows of a band, but those that a node computes."""
        there, new = self._window.rows(band)
        if there[1] == there[0]:
            return []
        held, source = (there[0], new[0]), self.buffer
        moved = there[0] - self._before[0]
        self._before = there
        if not self.buffer or moved or (self._apart and new[1] > new[0]):
            self.buffer = f"{self._label}.{band}"
            run = "" if self._apart else self._label
            self._builder.add_buffer(
                MapBuffer(self.buffer, self._layout, there[0], run, rolls=not self._apart)
            )
        steps: list[Transfer | Move] = []
        if self.buffer != source and held[1] > held[0]:
            part = held[1] - held[0] if self._apart else moved
            for first in range(held[0], held[1], part):
                rows = (first, min(first + part, held[1]))
                steps.append(Move(self._name, rows, source, self.buffer))
        if self._loaded and new[1] > new[0]:
            steps.append(Transfer(self._name, new, self.buffer, True))
        return steps


def check_plan(plan: Plan, qgraph: QuantGraph) -> None:
    """ScheduleError if rows are loaded that nobody stored before, or stored twice, or if a step
    reads or moves rows that are not in its buffer: a defect of the plan, refused before it is
    built."""
    there = {name: np.zeros(t.height, bool) for name, t in qgraph.tensors.items()}
    there[qgraph.input][:] = True
    held = {name: np.zeros(len(there[b.layout.tensor]), bool) for name, b in plan.buffers.items()}

    def need(step: Step | Transfer | Move, name: str, rows: Rows) -> None:
        buffer = plan.buffers[name]
        inside = buffer.first_row <= rows[0] and rows[1] <= buffer.first_row + buffer.layout.height
        if not inside or not held[name][slice(*rows)].all():
            raise ScheduleError(
                f"layer '{step.name}' reads rows {rows[0]}..{rows[1]} of '{buffer.layout.tensor}',"
                " which are not there"
            )

    for step in plan.steps:
        if isinstance(step, Step):
            for name in step.node.inputs:
                rows = input_rows(step.node, step.rows, qgraph.tensors[name].height)
                need(step, step.buffers[name], rows)
            held[step.buffers[step.node.output]][slice(*step.rows)] = True
        elif isinstance(step, Move):
            need(step, step.source, step.rows)
            held[step.target][slice(*step.rows)] = True
        else:
            rows = there[step.tensor][slice(*step.rows)]
            if step.load and not rows.all():
                raise ScheduleError(f"rows {step.rows} of '{step.tensor}' are loaded before they "
                                    "were stored")  # fmt: skip
            if step.load:
                held[step.buffer][slice(*step.rows)] = True
                continue
            if rows.any():
                raise ScheduleError(f"rows {step.rows} of '{step.tensor}' are stored twice")
            need(step, step.buffer, step.rows)
            rows[:] = True
