"""Named, timed steps: how both flows (build and simulate) run, and how they tell progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Progress(Protocol):
    """Where a flow tells how far it is."""

    def start(self, name: str) -> None:
        """A step begins."""

    def detail(self, text: str, done: float | None = None) -> None:
        """What the step is doing; done: 0..1 where it is known."""

    def finish(self, name: str, seconds: float) -> None:
        """A step is complete."""


class Silent:
    """Progress that nobody watches."""

    def start(self, name: str) -> None:
        """Nothing to show."""

    def detail(self, text: str, done: float | None = None) -> None:
        """Nothing to show."""

    def finish(self, name: str, seconds: float) -> None:
        """Nothing to show."""


@dataclass
class PartProgress(Silent):
    """Progress of frame number `index` of `count` as a part of the whole."""

    whole: Progress
    index: int
    count: int
    name: str

    def detail(self, text: str, done: float | None = None) -> None:
        """Cycles of this frame, as a share of all frames."""
        self.whole.detail(
            f"{self.index + 1} of {self.count}, {self.name}: {text}",
            (self.index + (done or 0.0)) / self.count,
        )


class FlowState(Protocol):
    """What a flow carries from step to step. times: seconds by step."""

    progress: Progress
    times: dict[str, float]


StateT = TypeVar("StateT", bound=FlowState)


def run_steps(state: StateT, steps: Sequence[tuple[str, Callable[[StateT], None]]]) -> StateT:
    """Runs the steps in order and times each."""
    for name, step in steps:
        state.progress.start(name)
        began = time.monotonic()
        step(state)
        state.times[name] = time.monotonic() - began
        state.progress.finish(name, state.times[name])
    return state
