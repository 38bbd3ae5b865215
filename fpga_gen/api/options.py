"""The options of a build, as Python and the command line give them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from fpga_gen.boards import find_board
from fpga_gen.builddir.config import BuildConfig
from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.errors import FpgaGenError
from fpga_gen.frontend.model_file import check_model_file
from fpga_gen.images import Preprocess, find_pictures

Model = str | Path
STAGES = ("estimate", "build", "synth", "simulate")  # of `explore`, each after those before it
ARRAY = ("pixels", "inputs", *(f"{kind.title} columns" for kind in KINDS))


class EngineOptions(TypedDict, total=False):
    """What decides about the engine.

    clock_mhz: of the engine, None for the board's, "auto": see `fpga-gen build`; array: pixels,
    inputs, DSP columns and SP2 columns, None for the best one; modes: of that array, such as
    (1, 2, 3), None for those of the board's own; double_clock: the DSP slices run at
    twice the engine's clock; exit_pixels: neighbouring pixels whose results leave the array
    together, 1 or 2, None for the better, or for 1 with an array; scheme: `mixed` (int8 and SP2
    filters), `fixed8` (int8), `sp2` or `msq4`; input_shape: (C, H, W) of a model that leaves its
    size open; zero_skipping: weight slots of zeros are left out.
    """

    clock_mhz: float | Literal["auto"] | None
    array: Sequence[int] | None
    modes: Sequence[int] | None
    double_clock: bool
    exit_pixels: int | None
    scheme: str
    input_shape: Sequence[int] | None
    zero_skipping: bool


class BuildOptions(EngineOptions, total=False):
    """All options of a build, beside model and board.

    calibration: a folder of pictures, None for seeded synthetic ones; normalise: what the model
    expects, `imagenet` (mean and deviation of ImageNet), `unit` (0..1) or `raw` (0..255); fit: how
    a picture of another size becomes the input, `stretch` or `letterbox`; seed: of the quantiser.
    """

    calibration: str | Path | None
    normalise: str
    fit: str
    seed: int


def make_config(model: Model, board: str, **options: Unpack[BuildOptions]) -> BuildConfig:
    """The options as one frozen object.

    Raises:
        FpgaGenError: a path, the board or the clock is wrong.
        TypeError: an option has no such name.
    """
    known = BuildOptions.__required_keys__ | BuildOptions.__optional_keys__
    if unknown := sorted(options.keys() - known):
        near = get_close_matches(unknown[0], known, 1)
        guess = f": did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
        raise TypeError(f"unknown option {unknown[0]!r}{guess}")
    array, shape = options.get("array"), options.get("input_shape")
    modes = options.get("modes")
    calibration = options.get("calibration")
    config = BuildConfig(
        model=Path(model),
        board=find_board(board),
        clock_mhz=options.get("clock_mhz"),
        calibration=None if calibration is None else Path(calibration),
        array=None if array is None else _array(array),
        modes=None if modes is None else tuple(modes),
        double_clock=options.get("double_clock", False),
        exit_pixels=options.get("exit_pixels"),
        scheme=options.get("scheme", "mixed"),
        input_shape=None if shape is None else tuple(shape),
        preprocess=Preprocess(options.get("normalise", "imagenet"), options.get("fit", "stretch")),
        seed=options.get("seed", 0),
        zero_skipping=options.get("zero_skipping", True),
    )
    check_model_file(config.model)
    config.resolve_clock(config.load_board())
    if config.calibration is not None:
        find_pictures(config.calibration)
    return config


def _array(numbers: Sequence[int]) -> tuple[int, ...]:
    if len(numbers) != len(ARRAY):
        raise FpgaGenError(f"array {tuple(numbers)}: give {', '.join(ARRAY)}")
    return tuple(numbers)
