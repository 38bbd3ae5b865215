"""What a model would do on a board, without building it: `estimate` and `check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack

from fpga_gen.api.options import BuildOptions, EngineOptions, Model, make_config
from fpga_gen.boards import Board, board_names, find_board, largest_board, load_board
from fpga_gen.steps import Progress

if TYPE_CHECKING:
    from fpga_gen.flows.check import Check
    from fpga_gen.report import Estimate, Report
    from fpga_gen.sizing.search import Candidate


@dataclass(frozen=True, eq=False)
class Estimated:
    """An estimate. engines: those that were compared, best first, empty where the array was given;
    seconds: by step."""

    report: Report
    engines: tuple[Candidate, ...]
    seconds: dict[str, float]

    @property
    def estimate(self) -> Estimate:
        """Cycles, frames per second and DRAM bytes of a frame."""
        return self.report.estimate

    @property
    def board(self) -> Board:
        """What the engines were compared for."""
        return load_board(self.report.board.name)

    def __repr__(self) -> str:
        cost = self.estimate
        return (
            f"<{self.report.model.name} on {self.report.board.name}: {cost.fps:,.1f} frame/s, "
            f"{cost.cycles:,} cycles, estimated>"
        )

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def estimate(
    model: Model, *, board: str, progress: Progress | None = None, **options: Unpack[BuildOptions]
) -> Estimated:
    """Cycles, frame rate, DRAM traffic and resources of a model on a board; nothing is written.

    Raises:
        FpgaGenError: the model cannot be compiled, or does not fit the board.
    """
    config = make_config(model, board, **options)
    from fpga_gen import pipeline

    flow = pipeline.estimate(config, progress)
    return Estimated(flow.report, flow.candidates, flow.times)


@dataclass(frozen=True, eq=False)
class BoardEstimate:
    """What a model would do on one of several boards. report: None if it cannot be built for it;
    refusal: why not, else empty."""

    board: Board
    report: Report | None
    refusal: str = ""

    def __repr__(self) -> str:
        if self.report is None:
            return f"<{self.board.name}: {self.refusal}>"
        return f"<{self.board.name}: {self.report.estimate.fps:,.1f} frame/s, estimated>"


def estimate_boards(
    model: Model,
    boards: Sequence[str] | None = None,
    *,
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> tuple[BoardEstimate, ...]:
    """`estimate` for each of the boards, None for all; one that does not do is no error.

    Raises:
        FpgaGenError: the model cannot be compiled for any, or an option is wrong.
    """
    names = board_names() if boards is None else [find_board(name) for name in boards]
    clock = options.pop("clock_mhz", None)  # that of one board may be too fast for another
    config = replace(make_config(model, largest_board(), **options), clock_mhz=clock)
    from fpga_gen import pipeline

    found = pipeline.survey(config, names, progress)
    return tuple(
        BoardEstimate(load_board(name), None, str(item))
        if isinstance(item, Exception)
        else BoardEstimate(load_board(name), item.report)
        for name, item in found.items()
    )


def check(model: Model, *, board: str | None = None, **options: Unpack[EngineOptions]) -> Check:
    """Whether a model can be built, and every node that is in the way; nothing is written.

    board: None for the largest.

    Raises:
        FpgaGenError: the file is unreadable, or board, clock or array are at fault.
    """
    config = make_config(model, board or largest_board(), **options)
    from fpga_gen.flows.check import check_model

    return check_model(config)
