"""`python -m fpga_gen_host.benchmark deploy/`: what one frame costs the processor; needs no board.

Times preparing a picture (resize, normalise, pack) and finishing a frame (unpack, the network's
last operators, mask) on one core, without what pynq needs to move buffers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fpga_gen_host.accelerator import Outputs
from fpga_gen_host.deployment import Deployment, load_deployment
from fpga_gen_host.errors import HostError
from fpga_gen_host.polyp import mask_of, overlay
from fpga_gen_host.prepare import InputPacker
from fpga_gen_host.regions import unpack_output
from fpga_gen_host.statistics import FrameStatistics

ROUNDS = 50
NO_FRAME = FrameStatistics(0, 0, 0, 0, 0, 0, 0, 0, 0.0)


@dataclass(frozen=True)
class HostTimes:
    """Median milliseconds of one frame. mask, overlay: None unless the network gives a mask.

    size: the picture's (height, width); prepare: picture to input region; finish: output region
    to model outputs; mask: its threshold; overlay: drawn on the picture, for display only.
    """

    size: tuple[int, int]
    prepare: float
    finish: float
    mask: float | None
    overlay: float | None

    @property
    def total(self) -> float:
        """What every frame costs: all but the overlay."""
        return self.prepare + self.finish + (self.mask or 0.0)


def frame_works(
    deployment: Deployment, size: tuple[int, int] | None = None
) -> dict[str, Callable[[], object]]:
    """What is done for a frame, by the names of `HostTimes`, each with random contents and ready to
    be done again; `mask` and `overlay` only where the network gives a mask.

    size: the picture's (h, w), the model's own by default.
    """
    rng = np.random.default_rng(0)
    height, width = size or deployment.model_shape[1:]
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    packer = InputPacker(deployment)
    region = np.zeros(deployment.input.bytes, np.uint8)
    result = rng.integers(0, 256, deployment.output.bytes, np.uint8)

    def finish() -> Outputs:
        maps = unpack_output(deployment.output, result.tobytes())
        return Outputs(deployment.finish(maps), NO_FRAME)

    works: dict[str, Callable[[], object]] = {
        "prepare": lambda: packer.pack(picture, region),
        "finish": finish,
    }
    outputs = finish()
    first = outputs[deployment.output_names[0]]
    if first.ndim == 4 and first.shape[:2] == (1, 1):
        mask = mask_of(outputs, deployment)
        mask[:] = False
        mask[mask.shape[0] // 4 : mask.shape[0] // 2, : mask.shape[1] // 2] = True
        works["mask"] = lambda: mask_of(outputs, deployment)
        works["overlay"] = lambda: overlay(picture, mask, deployment)
    return works


def measure(deployment: Deployment, size: tuple[int, int] | None = None) -> HostTimes:
    """Times of a picture of `size` (h, w), the model's own by default."""
    times = {name: _median(work) for name, work in frame_works(deployment, size).items()}
    return HostTimes(
        size or deployment.model_shape[1:],
        times["prepare"],
        times["finish"],
        times.get("mask"),
        times.get("overlay"),
    )


def _median(work: Callable[[], object]) -> float:
    work()  # tables are made on first use
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 done, 1 an error with one clear line, 2 usage."""
    parser = argparse.ArgumentParser(prog="fpga_gen_host.benchmark", description=__doc__)
    parser.add_argument("folder", type=Path, help="deploy folder; no bitstream is needed")
    parser.add_argument("--size", help="HEIGHTxWIDTH of the picture, the model's by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--only",
        metavar="PART",
        help="do one part (prepare, finish, mask, overlay) and print no times: for a counter of "
        "instructions such as perf stat",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of --only (%(default)s)")
    options = parser.parse_args(arguments)
    size = None
    if options.size:
        try:
            height, width = (int(v) for v in options.size.split("x"))
        except ValueError:
            parser.error(f"--size {options.size}: give HEIGHTxWIDTH, for example 576x720")
        size = height, width
    try:
        deployment = load_deployment(options.folder)
        if options.only:
            work = frame_works(deployment, size).get(options.only)
            if work is None:
                parser.error(f"--only {options.only}: this network has no such part")
            for _ in range(options.rounds):
                work()
            return 0
        times = measure(deployment, size)
    except (HostError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({**asdict(times), "total": times.total, "unit": "ms"}))
        return 0
    print(f"picture {times.size[0]}x{times.size[1]}, median of {ROUNDS}, milliseconds")
    for name in ("prepare", "finish", "mask", "total", "overlay"):
        value = getattr(times, name)
        if value is not None:
            print(f"  {name:8} {value:7.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
