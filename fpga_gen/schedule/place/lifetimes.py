"""Who lives where and when in the feature-map memory, in words and cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fpga_gen.schedule.cycles.model import ModelRun
from fpga_gen.schedule.place.allocate import Demand
from fpga_gen.schedule.place.plan import Plan


@dataclass(frozen=True)
class MapLife:
    """Words [base, base + words) belong to `maps` during cycles [start, end) of the model.

    maps: tensor names, several where maps share planes; NAME@K: band K of the rows of a map.
    """

    maps: tuple[str, ...]
    base: int
    words: int
    start: int
    end: int


def map_lives(
    plan: Plan,
    network_input: str,
    wanted: list[Demand],
    bases: dict[str, int],
    last_instructions: Sequence[int],
    timeline: ModelRun,
) -> tuple[MapLife, ...]:
    """Lives of all maps in order of birth.

    wanted: of the plan; bases: first word of every object; last_instructions: index of the LOAD,
    then of the last instruction of every step of the plan. A map lives from the first cycle of
    the step that begins it to the last of the step that reads it last, results of the network
    until the frame ends.
    """
    spans = timeline.spans
    lives = []
    for demand in wanted:
        names = _names(plan, demand)
        if network_input in names:
            start = 0  # the LOAD comes before the first step
        else:
            start = spans[last_instructions[demand.first] + 1].start
        done = demand.last >= len(plan.steps)
        end = timeline.cycles if done else spans[last_instructions[demand.last + 1]].end
        base = bases[demand.tensor] + demand.offset
        lives.append(MapLife(names, base, demand.words, start, end))
    return tuple(sorted(lives, key=lambda life: (life.start, life.base)))


def _names(plan: Plan, demand: Demand) -> tuple[str, ...]:
    """Buffers of the object that have words in the piece."""
    end = demand.offset + demand.words
    return tuple(
        name
        for name, buffer in plan.buffers.items()
        if buffer.owner == demand.tensor
        and buffer.offset < end
        and demand.offset < buffer.offset + buffer.layout.words
    )
