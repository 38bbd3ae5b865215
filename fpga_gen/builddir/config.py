"""What the user asked for: one frozen object, saved in the build directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fpga_gen.boards import Board, load_board
from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.numerics import DSP, SCHEMES
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import BoardError
from fpga_gen.images import Preprocess
from fpga_gen.resources import auto_clock, check_fit

MAX_CALIBRATION_IMAGES = 32


def engine_options(
    array: Sequence[int], modes: Sequence[int], *, double_clock: bool, exit_pixels: int
) -> str:
    """All that names an engine to a command: --array and what goes with it."""
    options = f"--array {','.join(map(str, array))} --modes {','.join(map(str, modes))}"
    options += " --double-clock" if double_clock else ""
    return options + (f" --exit-pixels {exit_pixels}" if exit_pixels > 1 else "")


@dataclass(frozen=True)
class BuildConfig:
    """Options of `fpga-gen build` and `estimate`.

    input_shape: (C, H, W) or (1, C, H, W) for a model that leaves its size open; array: pixels,
    in_channels, then the columns of each kind in the order of column_kinds.KINDS (0 where the
    figures end), None for the best one; modes: of that array, None for those of the board's own;
    clock_mhz: None for the board's default, "auto" for the highest that the timing estimate thinks
    safe; calibration: a folder of pictures, None for seeded synthetic ones; double_clock: the
    slices of the DSP columns run at twice that clock; exit_pixels: neighbouring pixels whose
    results leave the array together, None for the best with an engine that is searched, 1 with one
    that is given; zero_skipping: weight slots of zeros are left out.
    """

    model: Path
    board: str
    clock_mhz: float | Literal["auto"] | None = None
    calibration: Path | None = None
    array: tuple[int, ...] | None = None
    modes: tuple[int, ...] | None = None
    double_clock: bool = False
    exit_pixels: int | None = None
    zero_skipping: bool = True
    scheme: str = "mixed"
    input_shape: tuple[int, ...] | None = None
    preprocess: Preprocess = Preprocess()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise BoardError(f"unknown scheme {self.scheme!r}; known: {', '.join(SCHEMES)}")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise BoardError(f"--seed {self.seed}: give a whole number from 0 on")
        if self.exit_pixels not in (None, 1, 2):
            raise BoardError(f"--exit-pixels {self.exit_pixels}: give 1 or 2")
        if self.array is not None and not 3 <= len(self.array) <= 2 + len(KINDS):
            raise BoardError(
                f"array {self.array}: give pixels, inputs and columns of 1 to {len(KINDS)} kinds"
            )
        if self.modes is not None and self.array is None:
            raise BoardError("--modes are those of an array: give --array, too")
        if self.double_clock and not SCHEMES[self.scheme].allows(DSP):
            raise BoardError(
                f"--scheme {self.scheme} has no DSP columns to run at twice the clock: leave out "
                "--double-clock or use --scheme mixed"
            )

    def load_board(self) -> Board:
        return load_board(self.board)

    def resolve_clock(self, board: Board) -> float:
        """Clock in MHz; BoardError outside of what the board file allows."""
        if self.clock_mhz == "auto":
            clock_mhz = auto_clock(board, self.double_clock)
        else:
            clock_mhz = float(board.clock_mhz if self.clock_mhz is None else self.clock_mhz)
        board.check_clock(clock_mhz, self.double_clock)
        return clock_mhz

    def searches(self, board: Board) -> bool:
        """Whether the engine is to be found for the model, not given by the user or the board."""
        return self.array is None and board.search

    def own_array(self, board: Board) -> EngineParams:
        """The board's own array under these options."""
        params = board.default_array(self.scheme, self.double_clock)
        return dataclasses.replace(params, exit_pixels=self.exit_pixels or 1)

    def resolve_params(self, board: Board) -> EngineParams:
        """Engine parameters; ScheduleError tells why an array cannot be had on this board."""
        params = self.own_array(board)
        if self.array is not None:
            pixels, in_channels, *counts = self.array
            columns = {kind.field: 0 for kind in KINDS}
            for place, (kind, count) in enumerate(zip(KINDS, counts, strict=False), start=3):
                if count and not SCHEMES[self.scheme].allows(kind.number):
                    raise BoardError(
                        f"--scheme {self.scheme} has no {kind.title} columns, --array asks for "
                        f"{count}: make figure {place} 0 or use --scheme mixed"
                    )
                columns[kind.field] = count
            params = dataclasses.replace(
                params,
                pixels=pixels,
                in_channels=in_channels,
                modes=self.modes or params.modes,
                **columns,
            )
        check_fit(board, params)
        return params

    def to_dict(self) -> dict:
        """JSON-able options. Paths are left out but for the model's file name: a build directory
        must not depend on where its inputs lay."""
        return {
            "model_file": self.model.name,
            "board": self.board,
            "clock_mhz": self.clock_mhz,
            "calibration": "synthetic" if self.calibration is None else "pictures",
            "array": None if self.array is None else list(self.array),
            "modes": None if self.modes is None else list(self.modes),
            "double_clock": self.double_clock,
            "exit_pixels": self.exit_pixels,
            "zero_skipping": self.zero_skipping,
            "scheme": self.scheme,
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "preprocess": self.preprocess.to_dict(),
            "seed": self.seed,
        }
