"""What the engine does when: facts of the cycle model by instruction."""

from __future__ import annotations

from dataclasses import dataclass

OPS = ("conv", "pool", "vector", "load", "store", "end")


@dataclass(frozen=True)
class Activity:
    """One instruction, in cycles from the start command. start: dispatch; end: its unit has read
    its last word; stall_weights, stall_drain: cycles of it spent waiting for the weight stream and
    for the exit path; read_bytes, write_bytes: its DRAM traffic."""

    layer: str
    op: str
    start: int
    end: int
    stall_weights: int
    stall_drain: int
    read_bytes: int
    write_bytes: int


@dataclass(frozen=True)
class MapFacts:
    """Bytes [first_byte, first_byte + bytes) of the feature-map memory belong to a map, or to
    maps that share planes, during cycles [start, end)."""

    name: str
    first_byte: int
    bytes: int
    start: int
    end: int


@dataclass(frozen=True)
class Timeline:
    """activities: in program order; maps: in order of birth."""

    activities: tuple[Activity, ...]
    maps: tuple[MapFacts, ...]
    kind: str = "estimated"
