"""A campaign: many seeded attempts at one target, counted; what fails is kept for another look."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SEED = int(os.environ.get("FPGA_GEN_SEED", "0"))
SLOW = 10.0  # seconds of the processor that one attempt may take; on a busy machine, ...
STUCK = 120.0  # ... or of the clock: it waits for something


class Different(AssertionError):
    """Something was accepted, and what came out is wrong."""


@dataclass
class Tally:
    """counts: attempts by how they ended; failures: number and reason of those that must not be;
    slowest: processor seconds of the longest attempt, its child processes included."""

    name: str
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def __str__(self) -> str:
        ends = ", ".join(f"{count:,} {end}" for end, count in sorted(self.counts.items()))
        return (
            f"{self.name}, seed {self.seed}: {self.counts.total():,} attempts ({ends}), "
            f"{len(self.failures)} failures, slowest {self.slowest:.1f} s"
        )


def _processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def run(
    name: str,
    count: int,
    attempt: Callable[[random.Random, Path], str],
    folder: Path,
    *,
    seed: int = SEED,
    seconds: float = float("inf"),
) -> Tally:
    """`count` attempts, or as many as begin within `seconds`.

    attempt: gets a generator of random numbers of its own and an empty folder; returns how it
        ended. Any exception is a failure; the folder is then kept, and the number of the attempt
        makes it again.
    """
    tally = Tally(name, seed)
    end = time.monotonic() + seconds
    for number in range(count):
        begun, computed = time.monotonic(), _processor_seconds()
        if begun > end:
            break
        place = folder / f"{name}-{seed}-{number}"
        place.mkdir(parents=True)
        try:
            how = attempt(random.Random(f"{name} {seed} {number}"), place)
        except Exception as error:
            how = "different" if isinstance(error, Different) else "crashed"
            tally.failures.append(f"{place.name}: {type(error).__name__}: {str(error)[:300]}")
        taken, waited = _processor_seconds() - computed, time.monotonic() - begun
        tally.slowest = max(tally.slowest, taken)
        if taken > SLOW or waited > STUCK:
            tally.failures.append(f"{place.name}: computed {taken:.0f} s, took {waited:.0f} s")
        tally.counts[how] += 1
        if not (tally.failures and tally.failures[-1].startswith(f"{place.name}:")):
            for path in place.iterdir():
                path.unlink()
            place.rmdir()
    return tally
