"""Figures of frames: hardware counters, layer times, totals of a stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameStatistics:
    """Hardware counters of one frame (cycles of the engine's clock) and times of the host (s).

    busy: the array multiplies; stall_*: it waits for weights, for the exit path, for the input.
    seconds: cycles / clock. prepare_s, engine_s, finish_s: wall time of the three stages.
    """

    cycles: int
    busy: int
    stall_weights: int
    stall_drain: int
    stall_input: int
    read_bytes: int
    write_bytes: int
    instructions: int
    seconds: float
    prepare_s: float = 0.0
    engine_s: float = 0.0
    finish_s: float = 0.0


@dataclass(frozen=True)
class LayerTime:
    """One instruction of the last frame: from its start to the start of the next one.

    The engine overlaps the end of a layer with the next, so cycles are those that the instruction
    adds to the frame. operation, layer: '' if the deploy folder does not name them.
    """

    index: int
    operation: str
    layer: str
    start_cycle: int
    cycles: int
    seconds: float


@dataclass(frozen=True)
class StreamStatistics:
    """A finished `run_many`. watts: mean of the sensor's samples, whole rail; None: no sensor.

    joules_per_frame: watts * seconds / frames.
    """

    frames: int
    seconds: float
    watts: float | None = None
    sensor: str = ""

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds if self.seconds else 0.0

    @property
    def joules_per_frame(self) -> float | None:
        if self.watts is None or not self.frames:
            return None
        return self.watts * self.seconds / self.frames
