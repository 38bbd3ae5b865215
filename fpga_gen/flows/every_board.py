"""`fpga-gen estimate --board all`: what a model does on every board, in seconds each.

Each board runs its own array, and for the quantised network stands one with unit weights and 8-bit
maps (sizing/standin.py): what `estimate` finds for one board is better by what its search for the
engine finds, and worse by maps of 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fpga_gen.boards import Board, board_names
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.errors import BoardError, ScheduleError
from fpga_gen.pipeline import Flow, import_model, optimise_graph
from fpga_gen.report import Report
from fpga_gen.report.breakdown import bottleneck
from fpga_gen.report.collect import build_report
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.sizing.standin import standin
from fpga_gen.steps import Progress, Silent


@dataclass(frozen=True)
class BoardAnswer:
    """report: None if the board cannot run the model; limit: what makes it no faster, or why it
    cannot."""

    board: str
    report: Report | None
    limit: str

    def to_dict(self) -> dict:
        """JSON-able figures of a frame."""
        if self.report is None:
            return {"board": self.board, "runs": False, "reason": self.limit}
        cost = self.report.estimate
        return {
            "board": self.board,
            "runs": True,
            "array": [
                self.report.array.pixels,
                self.report.array.in_channels,
                self.report.array.out_channels_dsp,
                self.report.array.out_channels_sp2,
            ],
            "clock_mhz": self.report.clock_mhz,
            "cycles": cost.cycles,
            "fps": cost.fps,
            "utilisation": cost.utilisation,
            "dram_read_bytes": cost.dram_read_bytes,
            "dram_write_bytes": cost.dram_write_bytes,
            "dram_lower_bound_bytes": cost.dram_lower_bound_bytes,
            "limit": self.limit,
        }


def estimate_boards(config: BuildConfig, progress: Progress | None = None) -> list[BoardAnswer]:
    """An answer for every known board, by name; config: its `board` is not looked at.

    Raises:
        UnsupportedModel: no board can run the model.
    """
    progress = progress or Silent()
    flow = Flow(config, progress=progress)
    import_model(flow)
    optimise_graph(flow)
    answers = []
    for name in board_names():
        progress.start(name)
        answers.append(_answer(flow, replace(config, board=name)))
        progress.finish(name, 0.0)
    return answers


def _answer(flow: Flow, config: BuildConfig) -> BoardAnswer:
    board = config.load_board()
    try:
        report = _report(flow, config, board)
    except (BoardError, ScheduleError) as error:
        return BoardAnswer(board.name, None, str(error))
    return BoardAnswer(board.name, report, bottleneck(report))


def _report(flow: Flow, config: BuildConfig, board: Board) -> Report:
    clock = config.resolve_clock(board)
    params = config.resolve_params(board)
    network = standin(flow.graph, params)
    timing = board_timing(board.read_bytes_per_cycle(params.ports, clock))
    schedule = compile_schedule(network, params, timing)
    return build_report(flow.model, board, params, clock, network, schedule)
