"""Pictures through the RTL of a build: in this process, or spread over many.

The result of each frame is kept in a journal in the user's cache until all are there, so an
evaluation that was stopped goes on where it was.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fpga_gen.builddir.artifacts import BuildDir
from fpga_gen.cache import cache_directory, program_digest
from fpga_gen.errors import BuildDirError, FpgaGenError
from fpga_gen.evaluate.masks import PackedMask, mask_of
from fpga_gen.flows.simulate import (
    SimulationFlow,
    check_directory,
    compare_results,
    compile_simulator,
    run_frame,
)
from fpga_gen.images import prepare, read_picture
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.spread import Journal, Lost, spread
from fpga_gen.steps import PartProgress, Progress
from fpga_gen_host.decode import decode
from fpga_gen_host.digest import digest_of

COMPUTED = ("program.bin", "weights.bin", "layout.json", "quantised.npz")  # what decides on a frame


@dataclass(frozen=True)
class SimulatedPicture:
    """One picture. key: SHA-256 of its file; cycles: of the frame; shape, mask: (height, width) of
    the predicted mask and its packed bits in base 64; mismatch: first difference from the integer
    reference, None if there is none."""

    key: str
    cycles: int
    shape: tuple[int, int]
    mask: str
    mismatch: str | None

    def packed(self) -> PackedMask:
        """The predicted mask."""
        bits = np.frombuffer(base64.b64decode(self.mask), np.uint8)
        return PackedMask(self.shape, bits)


@dataclass(frozen=True)
class _Task:
    """What a worker is told. build: the identity of the directory's build."""

    directory: str
    build: str
    picture: str


def simulate_pictures(
    sim: SimulationFlow,
    pictures: Sequence[Path],
    progress: Progress,
    workers: int,
    scheduler: str | None,
) -> Iterator[tuple[Path, SimulatedPicture]]:
    """Every picture and its result, in any order.

    sim: an open build, with its simulator where one process does all the work; workers, scheduler:
    as of `spread`; one worker without a scheduler is this process.

    Raises:
        FpgaGenError: a simulation failed, or three workers died over a picture.
    """
    identity = build_identity(sim.build)
    name = digest_of([program_digest(), identity])[:32]
    path = cache_directory() / "frames" / f"{name}.jsonl"
    journal = Journal(path, SimulatedPicture, lambda found: found.key)
    keys = {picture: sha256(picture.read_bytes()).hexdigest() for picture in pictures}
    missing = [picture for picture in pictures if keys[picture] not in journal.known]
    for picture in pictures:
        if picture not in missing:
            yield picture, journal.known[keys[picture]]
    done = len(pictures) - len(missing)
    if workers == 1 and scheduler is None:
        for number, picture in enumerate(missing, done):
            sim.progress = PartProgress(progress, number, len(pictures), picture.name)
            found = simulate_picture(sim, picture)
            journal.add(found)
            yield picture, found
    elif missing:
        directory = str(sim.directory.resolve())
        tasks = {_Task(directory, identity, str(p.resolve())): p for p in missing}
        progress.detail(f"{done} of {len(pictures)}", done / len(pictures))
        for task, result in spread(run_task, [*tasks], workers=workers, scheduler=scheduler):
            if isinstance(result, Lost):
                raise FpgaGenError(f"{tasks[task]}: {result.reason}")
            found = decode(SimulatedPicture, result)
            journal.add(found)
            done += 1
            progress.detail(f"{done} of {len(pictures)}, {tasks[task].name}", done / len(pictures))
            yield tasks[task], found
    journal.remove()


def simulate_picture(sim: SimulationFlow, picture: Path) -> SimulatedPicture:
    """One frame on the compiled simulator, compared with the integer reference."""
    pixels = read_picture(picture)
    image = prepare(pixels, sim.qgraph.host_input.model_shape, sim.preprocess)
    sim.stored_input = quantise_input(sim.qgraph, image)
    sim.reference = run_integer(sim.qgraph, sim.stored_input)
    run_frame(sim)
    compare_results(sim)
    size = (pixels.shape[0], pixels.shape[1])
    packed = PackedMask.of(mask_of(sim.qgraph, sim.outputs, size, sim.preprocess))
    return SimulatedPicture(
        key=sha256(picture.read_bytes()).hexdigest(),
        cycles=sim.result.cycles,
        shape=packed.shape,
        mask=base64.b64encode(packed.data.tobytes()).decode(),
        mismatch=None if sim.mismatch is None else str(sim.mismatch),
    )


def build_identity(build: BuildDir) -> str:
    """Digest of what decides on the result of a frame."""
    parts = {name: sha256(build.read(name)).hexdigest() for name in COMPUTED}
    return digest_of([build.design_hash, build.memory_rate, parts])


def run_task(task: _Task) -> dict[str, Any]:
    """What a worker does, JSON-able."""
    return asdict(simulate_picture(_opened(task.directory, task.build), Path(task.picture)))


@lru_cache(maxsize=1)
def _opened(directory: str, identity: str) -> SimulationFlow:
    """The build with its simulator; a worker opens it once."""
    sim = SimulationFlow(Path(directory), Path())
    check_directory(sim)
    if build_identity(sim.build) != identity:
        raise BuildDirError(f"{directory}: not the same build for a worker: share one folder")
    compile_simulator(sim)
    return sim
