"""What a training run needs besides its loop: schedule, averaged weights, files, signals."""

import json
import math
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from fpga_gen.disk import replace_file


@dataclass(frozen=True)
class RateSchedule:
    """Learning rate and end of a run, by number of steps or by wall-clock time.

    Exactly one of steps and minutes is positive. peak: highest rate; warmup: fraction of the run
    with a linear rise; floor: last rate as a fraction of the peak (cosine in between).
    """

    peak: float
    steps: int = 0
    minutes: float = 0.0
    warmup: float = 0.02
    floor: float = 0.01

    def __post_init__(self) -> None:
        if (self.steps > 0) == (self.minutes > 0):
            raise ValueError("a run ends after a number of steps or of minutes: give one of them")

    def progress(self, step: int, seconds: float) -> float:
        """Part of the run that is done, 0 to 1."""
        done = step / self.steps if self.steps else seconds / (60 * self.minutes)
        return min(1.0, done)

    def rate(self, progress: float) -> float:
        """Learning rate at `progress`."""
        if progress < self.warmup:
            return self.peak * max(0.01, progress / self.warmup)
        phase = (progress - self.warmup) / (1 - self.warmup)
        cosine = (1 + math.cos(math.pi * phase)) / 2
        return self.peak * (self.floor + (1 - self.floor) * cosine)


class AveragedWeights:
    """Exponential moving average of a model's parameters and BatchNorm statistics.

    The decay rises to its final value with the number of updates n: min(decay, (1+n) / (10+n)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Writes `record` as indented JSON, atomically."""
    text = json.dumps(record, indent=2) + "\n"
    replace_file(path, text.encode())


def save_run(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights | None,
    facts: Mapping[str, Any],
) -> None:
    """Writes everything a run needs to go on. facts: plain numbers and strings."""
    record: dict[str, Any] = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": None if average is None else average.state,
        "ema_updates": 0 if average is None else average.updates,
        "facts": dict(facts),
    }
    replace_file(path, lambda stream: torch.save(record, stream))


def load_run(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedWeights | None,
) -> dict[str, Any]:
    """Restores what `save_run` wrote and returns its facts."""
    record = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(record["model"])
    optimizer.load_state_dict(record["optimizer"])
    if average is not None and record["ema"] is not None:
        average.updates = record["ema_updates"]
        for key, value in record["ema"].items():
            average.state[key].copy_(value)
    return record["facts"]


class StopRequest:
    """True once SIGINT or SIGTERM has arrived; the loop ends after the current step.

    A second signal has its usual effect.
    """

    def __init__(self) -> None:
        self.asked = False

    def install(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)

    def __bool__(self) -> bool:
        return self.asked


class Clock:
    """Seconds of the run, those of earlier parts included."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.monotonic() - before

    def seconds(self) -> float:
        return time.monotonic() - self._start


def pick_device(name: str) -> torch.device:
    """ "auto": CUDA where there is one, otherwise the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Moves a model to `device` with channels-last weights, the faster layout for both kinds."""
    model = model.to(device)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision context; precision: "bf16" or "fp32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
