"""Reference vectors for the host: what the integer reference computes for pictures.

Written into the build directory's folder `reference`, so that a board, or the virtual one, can be
compared bit for bit without the compiler (fpga_gen_host.reference).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fpga_gen.builddir.artifacts import BuildDir, check_room, update_build
from fpga_gen.identity import open_build
from fpga_gen.images import PictureError, Preprocess, find_pictures, read_input
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.steps import Progress, Silent, run_steps

FOLDER = "reference"
INPUT, OUTPUT = "input", "output:"  # as fpga_gen_host.reference reads them


@dataclass
class ReferenceFlow:
    """What the steps have made so far. images: a folder of pictures, or one picture or array."""

    directory: Path
    images: Path
    progress: Progress = field(default_factory=Silent)
    times: dict[str, float] = field(default_factory=dict)
    build: BuildDir = field(init=False)
    paths: list[Path] = field(init=False)
    preprocess: Preprocess = field(init=False)
    qgraph: QuantGraph = field(init=False)
    written: list[Path] = field(default_factory=list)


Step = tuple[str, Callable[[ReferenceFlow], None]]


def check_directory(flow: ReferenceFlow) -> None:
    """Reads and verifies the build directory; lists the pictures."""
    flow.build = build = open_build(flow.directory)
    flow.preprocess = build.layout.preprocess
    flow.qgraph = build.network
    flow.paths = find_pictures(flow.images)
    named: dict[str, Path] = {}
    for path in flow.paths:
        if named.setdefault(path.stem, path) != path:
            raise PictureError(
                f"{named[path.stem]} and {path.name} would both be written to "
                f"{FOLDER}/{path.stem}.npz: rename one of them"
            )
    check_room(build, (f"{FOLDER}/{path.stem}.npz" for path in flow.paths))


def run_reference(flow: ReferenceFlow) -> None:
    """Each picture through the integer interpreter, into a file of its own."""
    graph = flow.qgraph
    for number, path in enumerate(flow.paths):
        flow.progress.detail(path.name, number / len(flow.paths))
        image = read_input(path, graph.host_input.model_shape, flow.preprocess)
        stored = quantise_input(graph, image)
        values = run_integer(graph, stored)
        target = f"{FOLDER}/{path.stem}.npz"
        arrays = {INPUT: stored} | {OUTPUT + name: values[name] for name in graph.outputs}
        flow.build = update_build(flow.build, lambda _: {}, {target: _npz(arrays)})
        flow.written.append(flow.directory / target)


REFERENCE: tuple[Step, ...] = (
    ("check build directory", check_directory),
    ("integer reference", run_reference),
)


def write_references(
    directory: Path, images: Path, progress: Progress | None = None
) -> ReferenceFlow:
    """One reference vector per picture."""
    return run_steps(ReferenceFlow(directory, images, progress or Silent()), REFERENCE)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """The arrays as a compressed .npz file."""
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    return data.getvalue()
