"""`make fuzz`: the campaigns of tests/fuzz at full length.

    python -m tests.fuzz [models|builds|pictures|programs ...] --count 1000 --seconds 600 --seed 1

The seed is printed; what failed lies in build/fuzz/SEED/, one folder for each attempt.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.engines import SMALL
from tests.fuzz import builds, models, pictures, programs
from tests.fuzz.campaign import SEED, Tally, run
from tests.schedule.graphs import DOUBLE_CLOCK, THREE_MODES

ENGINES = {"two-modes": SMALL, "three-modes": THREE_MODES, "double-clock": DOUBLE_CLOCK}
TARGETS = ("models", "builds", "pictures", "programs")


def campaigns(target: str, count: int, seed: int, seconds: float, folder: Path) -> Iterator[Tally]:
    """The campaigns against one target."""
    options = {"folder": folder, "seed": seed, "seconds": seconds}
    if target == "models":
        yield run("models", count, models.attempt, **options)
    elif target == "pictures":
        yield run("pictures", count, pictures.attempt, **options)
    elif target == "builds":
        with tempfile.TemporaryDirectory() as place, builds.good_build(Path(place)) as built:
            yield run("builds", count, builds.Attempt(built), **options)
    else:
        from rtl_tests.networks import accelerator

        for name, params in ENGINES.items():
            with ExitStack() as stack:
                place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                simulator = accelerator(params, place)
                attempt = stack.enter_context(programs.Attempt(params, simulator))
                yield run(f"programs-{name}", count, attempt, **options)
                print(f"programs-{name}: {attempt.beats:,} AXI beats")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--count", type=int, default=1000, help="attempts of each campaign")
    parser.add_argument("--seconds", type=float, default=600, help="of each campaign, at most")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target is called {', '.join(sorted(unknown))}")
    folder = Path("build/fuzz") / str(options.seed)
    shutil.rmtree(folder, ignore_errors=True)
    failures = 0
    limits = options.count, options.seed, options.seconds, folder
    for target in options.targets or TARGETS:
        for tally in campaigns(target, *limits):
            print(tally, flush=True)
            for failure in tally.failures:
                print(f"    {folder}/{failure}")
            failures += len(tally.failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
