"""`python -m fpga_gen_host deploy/ SOURCE`: runs pictures, a video or a camera, prints figures."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fpga_gen_host.accelerator import Accelerator
from fpga_gen_host.device import Device
from fpga_gen_host.errors import HostError
from fpga_gen_host.pictures import with_legend
from fpga_gen_host.polyp import full_mask, mask_of, overlay
from fpga_gen_host.video import frames


def main(arguments: list[str] | None = None, device: Device | None = None) -> int:
    """Exit code 0 done, 1 an error with one clear line, 2 usage. device: see `Accelerator`."""
    options = _parser().parse_args(arguments)
    source = int(options.source) if options.source.isdigit() else options.source
    try:
        with Accelerator(options.folder, device=device, timeout_s=options.timeout) as accelerator:
            _run(accelerator, source, options)
    except (HostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fpga_gen_host", description=__doc__)
    parser.add_argument("folder", type=Path, help="deploy folder")
    parser.add_argument("source", help="picture, folder, video file, or number of a camera")
    parser.add_argument("-o", "--output", type=Path, help="folder for pictures with the mask")
    parser.add_argument("-n", "--frames", type=int, help="stop after so many frames")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one frame")
    parser.add_argument("--layers", action="store_true", help="print the time of every layer")
    return parser


def _run(accelerator: Accelerator, source: str | int, options: argparse.Namespace) -> None:
    shown: deque[np.ndarray] = deque()  # pictures whose results are still to come

    def pictures() -> Iterator[np.ndarray]:
        for number, picture in enumerate(frames(source)):
            if options.frames is not None and number >= options.frames:
                return
            shown.append(picture)
            yield picture

    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    for number, outputs in enumerate(accelerator.run_many(pictures())):
        picture = shown.popleft()
        if options.output:
            mask = mask_of(outputs, accelerator.deployment)
            drawn = overlay(picture, mask, accelerator.deployment)
            size = (picture.shape[0], picture.shape[1])
            whole = full_mask(mask, size, accelerator.deployment)
            Image.fromarray(with_legend(drawn, whole)).save(options.output / f"{number:06d}.png")
    totals = accelerator.stream_statistics
    if totals is None or not totals.frames:
        raise HostError(f"{source}: no frames")
    print(f"{totals.frames} frames, {totals.frames_per_second:.1f} frames/s")
    if totals.watts is not None:
        joules = totals.joules_per_frame
        print(f"{totals.watts:.2f} W ({totals.sensor}), {joules:.3f} J per frame")
    if options.layers:
        for t in accelerator.layer_times():
            print(
                f"{t.index:5d} {t.operation:8} {t.layer:32} {t.cycles:9d} {1e3 * t.seconds:8.3f} ms"
            )


if __name__ == "__main__":
    sys.exit(main())
