"""`explore`: many trials at once, on the processors of this machine or of a Dask cluster.

Every trial is a model on a board with a scheme, estimated, or built, and then mapped by Yosys and
simulated; its result is a line of `explore.jsonl`, written when it is known, so a run that was
stopped goes on where it was. A worker that dies loses its trial to another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fpga_gen.api.options import STAGES, Model
from fpga_gen.boards import board_names, find_board
from fpga_gen.cache import program_digest
from fpga_gen.contract.numerics import SCHEMES
from fpga_gen.errors import BoardError, FpgaGenError
from fpga_gen.frontend.model_file import check_model_file
from fpga_gen.spread import Journal, Lost, spread
from fpga_gen.steps import Progress, Silent
from fpga_gen_host.decode import decode

if TYPE_CHECKING:
    from fpga_gen.report import Report

FILE = "explore.jsonl"


@dataclass(frozen=True)
class Trial:
    """A model on a board. key: digest of what decides on the result; through: the last of STAGES;
    images, masks: folders for the accuracy of a build, or empty."""

    model: str
    board: str
    scheme: str
    double_clock: bool
    key: str
    through: str = "estimate"
    images: str = ""
    masks: str = ""

    @staticmethod
    def of(
        model: Path,
        board: str,
        scheme: str,
        double_clock: bool,
        through: str = "estimate",
        labelled: tuple[Path, Path] | None = None,
    ) -> Trial:
        """The trial of a model file; FpgaGenError if it cannot be read."""
        check_model_file(model)
        content = sha256(model.read_bytes()).hexdigest()
        folders = [str(folder.resolve()) for folder in labelled or ()]
        facts = [program_digest(), content, board, scheme, double_clock, through, folders]
        key = sha256(json.dumps(facts).encode()).hexdigest()[:32]
        return Trial(str(model.resolve()), board, scheme, double_clock, key, through, *folders)


@dataclass(frozen=True)
class TrialResult:
    """What a trial gave. refusal: why the model cannot be built there, else empty; the figures are
    of a frame, and primitives of the engine beside their shares of the board (0..1). kind: of the
    cycles, estimated or simulated, and so bit-exact; resources: estimated or synthesised; dice:
    mean of the integer reference, None without labelled pictures; directory: of the build."""

    trial: Trial
    refusal: str = ""
    fps: float = 0.0
    latency_ms: float = 0.0
    cycles: int = 0
    dram_bytes: int = 0
    luts: int = 0
    dsps: int = 0
    lut_share: float = 0.0
    dsp_share: float = 0.0
    array: tuple[int, ...] = ()
    kind: str = "estimated"
    resources: str = "estimated"
    dice: float | None = None
    directory: str = ""


def explore(
    models: Sequence[Model],
    boards: Sequence[str] | None = None,
    *,
    output: str | Path,
    schemes: Sequence[str] = ("mixed",),
    double_clock: Sequence[bool] = (False,),
    through: str = "estimate",
    images: str | Path | None = None,
    masks: str | Path | None = None,
    workers: int = 2,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> tuple[TrialResult, ...]:
    """Estimates every model on every board with every scheme, or builds it and goes on from there.

    Args:
        boards: None for all.
        output: folder of explore.jsonl; what stands there already is not computed again.
        double_clock: whether the DSP slices run at twice the clock; both may be tried.
        through: estimate; build, into the folder `builds` in `output`; synth, and map it with
            Yosys; simulate, and one frame in the generated Verilog as well.
        images, masks: folders of labelled pictures, with which every build is evaluated; the first
            picture is the simulated one. Without them noise is.
        workers: processes on this machine.
        scheduler: address of a Dask scheduler, such as tcp://host:8786; its workers need this
            version of fpga-gen and the same paths. None: processes of this machine.

    Returns:
        The results in the order of the arguments.

    Raises:
        FpgaGenError: a model, board or scheme is wrong, the folder cannot be written, or Dask is
            not installed.
    """
    names = board_names() if boards is None else [find_board(name) for name in boards]
    for scheme in schemes:
        if scheme not in SCHEMES:
            raise BoardError(f"unknown scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    labelled = _labelled(through, images, masks)
    trials = [
        Trial.of(Path(model), name, scheme, fast, through, labelled)
        for model in models
        for name in names
        for scheme in schemes
        for fast in double_clock
    ]
    book = Journal(Path(output) / FILE, TrialResult, lambda result: result.trial.key)
    missing = [trial for trial in trials if trial.key not in book.known]
    say = progress or Silent()
    lost: dict[str, TrialResult] = {}  # not known: the next run tries again
    for trial, found in _computed(missing, Path(output), workers, scheduler) if missing else ():
        if isinstance(found, Lost):
            lost[trial.key] = TrialResult(trial, refusal=found.reason)
        else:
            book.add(found)
        done = len(trials) - len(missing) + book.added + len(lost)
        say.detail(f"{Path(trial.model).name} on {trial.board}", done / len(trials))
    return tuple((book.known | lost)[trial.key] for trial in trials)


def _labelled(
    through: str, images: str | Path | None, masks: str | Path | None
) -> tuple[Path, Path] | None:
    if through not in STAGES:
        raise FpgaGenError(f"unknown stage {through!r}; known: {', '.join(STAGES)}")
    if images is None and masks is None:
        return None
    if images is None or masks is None or through == STAGES[0]:
        raise FpgaGenError("pictures are evaluated with their masks, and of builds alone")
    for folder in (Path(images), Path(masks)):
        if not folder.is_dir():
            raise FpgaGenError(f"{folder}: no such folder")
    return Path(images), Path(masks)


def pareto(results: Iterable[TrialResult]) -> set[str]:
    """Keys of the trials that no other of the same model beats in frame rate, LUTs and accuracy,
    where that is known, at once."""
    fit = [r for r in results if not r.refusal]

    def merits(one: TrialResult) -> tuple[float, float, float]:
        return one.fps, -one.luts, one.dice or 0.0

    def beaten(one: TrialResult) -> bool:
        mine = merits(one)
        return any(
            other.trial.model == one.trial.model
            and merits(other) != mine
            and all(a >= b for a, b in zip(merits(other), mine, strict=True))
            for other in fit
        )

    return {r.trial.key for r in fit if not beaten(r)}


def run_trial(trial: Trial, folder: Path) -> dict[str, Any]:
    """One trial, JSON-able: what a worker does. folder: for builds. A refusal is a result."""
    try:
        if trial.through == STAGES[0]:
            return asdict(_estimated(trial))
        return asdict(_built(trial, folder))
    except FpgaGenError as error:
        return asdict(TrialResult(trial, refusal=str(error)))


def _estimated(trial: Trial) -> TrialResult:
    from fpga_gen.api.estimate import estimate

    report = estimate(
        trial.model, board=trial.board, scheme=trial.scheme, double_clock=trial.double_clock
    ).report
    return _figures(trial, report)


def _built(trial: Trial, folder: Path) -> TrialResult:
    """A build and what was asked for behind it."""
    from fpga_gen.api.build import build
    from fpga_gen.images import find_pictures

    stage = STAGES.index(trial.through)
    target = folder / f"{Path(trial.model).stem}-{trial.board}-{trial.key[:8]}"
    made = build(
        trial.model,
        board=trial.board,
        output=target,
        scheme=trial.scheme,
        double_clock=trial.double_clock,
    )
    dice = None
    if trial.images:
        found = made.evaluate(trial.images, trial.masks).accuracy
        dice = next(s.dice for s in found.scores if s.source == "integer")
    if stage >= STAGES.index("synth"):
        made.synth()
    if stage >= STAGES.index("simulate"):
        if trial.images:
            made.simulate(find_pictures(Path(trial.images))[0])
        else:
            shape = made.report.model.input_shape
            made.simulate(np.random.default_rng(0).standard_normal(shape))
    return replace(_figures(trial, made.report), dice=dice, directory=str(target.resolve()))


def _figures(trial: Trial, report: Report) -> TrialResult:
    cost = report.simulation or report.estimate
    used, have = report.resources.used, report.resources.available
    array = report.array
    return TrialResult(
        trial,
        fps=cost.fps,
        latency_ms=cost.latency_ms,
        cycles=cost.cycles,
        dram_bytes=cost.dram_read_bytes + cost.dram_write_bytes,
        luts=used.luts,
        dsps=used.dsps,
        lut_share=used.luts / have.luts,
        dsp_share=used.dsps / have.dsps,
        array=(array.pixels, array.in_channels, *array.out_channels.values()),
        kind=cost.kind,
        resources=report.resources.kind,
    )


def _computed(
    trials: Sequence[Trial], output: Path, workers: int, scheduler: str | None
) -> Iterator[tuple[Trial, TrialResult | Lost]]:
    """Results as they come."""
    builds = (output / "builds").resolve()
    for trial, found in spread(run_trial, trials, builds, workers=workers, scheduler=scheduler):
        yield trial, found if isinstance(found, Lost) else decode(TrialResult, found)
