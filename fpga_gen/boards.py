"""Board descriptions: boards/<name>/board.toml -> `Board`.

A checkout holds the files in boards/ beside this package; an installed package carries a copy
of them in fpga_gen/_boards.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from fpga_gen.contract.column_kinds import KINDS
from fpga_gen.contract.numerics import DSP, SCHEMES
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import BoardError, ScheduleError

HP_BITS = (64, 128)  # SmartConnect brings the engine's 128-bit ports down to 64 on Zynq-7000
PROCESSORS = ("zynq_ultra_ps_e", "processing_system7")
_PACKAGE = Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "_boards", _PACKAGE.parent / "boards")


@dataclass(frozen=True)
class Resources:
    """What the programmable logic offers (or a design takes), in primitives."""

    luts: int
    flip_flops: int
    dsps: int
    bram36: int
    uram: int


@dataclass(frozen=True)
class Vivado:
    """What the Vivado project needs. processor: IP of the processing system; hp_order: HP port
    of master k of the accelerator; board_connections: carrier card of a module, or empty."""

    processor: str
    hp_order: tuple[int, ...]
    board_connections: str = ""


@dataclass(frozen=True)
class Board:
    """Facts of one board.

    clock_mhz, max_clock_mhz: MHz; dram_peak, dram_sustained: bytes per second; hp_bits: width of
    an HP port; array: default engine of the `mixed` scheme, fixed8: of the `fixed8` scheme;
    search: False where the array above is the only one to use; max_dsp_mhz: fastest clock of the
    DSP slices with all their registers, None where they cannot run at twice the engine's.
    """

    name: str
    title: str
    part: str
    vivado_board: str
    status: str
    resources: Resources
    dram_bytes: int
    dram_peak: int
    dram_sustained: int
    hp_ports: int
    hp_bits: int
    vivado: Vivado
    clock_mhz: float
    max_clock_mhz: float
    array: EngineParams
    fixed8: EngineParams
    search: bool = True
    max_dsp_mhz: float | None = None

    def default_array(self, scheme: str, double_clock: bool = False) -> EngineParams:
        """Engine parameters of a quantisation scheme, a key of `numerics.SCHEMES`; with
        double_clock twice the DSP columns. ScheduleError: the board has no slices for that."""
        chosen = SCHEMES[scheme]
        params = self.fixed8 if chosen.kinds == (DSP,) else self.array
        left_out = {kind.field: 0 for kind in KINDS if not chosen.allows(kind.number)}
        params = dataclasses.replace(params, **left_out)
        if chosen.sp2_code is not None:
            params = dataclasses.replace(params, sp2_code=chosen.sp2_code)
        if double_clock:
            params = dataclasses.replace(
                params, dsp_columns=2 * params.dsp_columns, double_clock=True
            )
        return params

    def check_clock(self, clock_mhz: float, double_clock: bool = False) -> None:
        """BoardError for a clock of the engine that the board file does not allow; double_clock:
        the DSP slices run at twice that clock."""
        if not 0 < clock_mhz <= self.max_clock_mhz:
            raise BoardError(
                f"--clock-mhz {clock_mhz:g} is outside 0..{self.max_clock_mhz:g} of {self.name}"
            )
        if not double_clock:
            return
        if self.max_dsp_mhz is None:
            raise BoardError(
                f"{self.name}: its DSP slices cannot run at twice the clock: leave out "
                "--double-clock"
            )
        if 2 * clock_mhz > self.max_dsp_mhz:
            raise BoardError(
                f"--double-clock at {clock_mhz:g} MHz runs the slices at {2 * clock_mhz:g} MHz, "
                f"{self.name} allows {self.max_dsp_mhz:g}: --clock-mhz must be at most "
                f"{self.max_dsp_mhz / 2:g}"
            )

    def read_bytes_per_cycle(self, ports: int, clock_mhz: float) -> float:
        """What DRAM and `ports` HP ports sustain, in bytes per cycle of the engine."""
        return min(self.dram_sustained / (clock_mhz * 1e6), ports * self.hp_bits / 8)

    def to_dict(self) -> dict:
        """JSON-able facts, for `--json` and for the hash in the manifest."""
        data = dataclasses.asdict(self)
        return {**data, "array": self.array.to_dict(), "fixed8": self.fixed8.to_dict()}


def boards_folder() -> Path:
    """The folder that holds one sub-folder for each board; BoardError if there is none."""
    for folder in _FOLDERS:
        if any(folder.glob("*/board.toml")):
            return folder
    raise BoardError("no board descriptions found: reinstall fpga-gen")


def board_names() -> list[str]:
    """Names of all known boards, sorted."""
    return sorted(path.parent.name for path in boards_folder().glob("*/board.toml"))


def find_board(name: str) -> str:
    """The name of the board that `name` means, in any case and with any of space, `_` and `-`;
    BoardError names the one that was probably meant, and lists the known ones."""
    known = {_spelling(n): n for n in board_names()}
    spelling = _spelling(name)
    if spelling in known:
        return known[spelling]
    near = get_close_matches(spelling, known, 1)
    guess = f": did you mean {known[near[0]]}?" if near else ";"
    raise BoardError(f"unknown board {name!r}{guess} known boards: {', '.join(board_names())}")


def _spelling(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


@cache
def load_board(name: str) -> Board:
    """The board called `name`; BoardError as `find_board`."""
    return read_board(boards_folder() / find_board(name) / "board.toml")


def largest_board() -> str:
    """The board whose own engine has most memory for feature maps, then most multipliers."""

    def size(name: str) -> tuple[int, int, int]:
        board = load_board(name)
        array = board.array
        return array.words * array.in_channels, array.macs_per_cycle, board.dram_sustained

    return max(board_names(), key=size)


def read_board(path: Path) -> Board:
    """Reads one board.toml; BoardError names the file and the field at fault."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BoardError(f"{path}: cannot be read: {error}") from error
    try:
        dram, ports, clock = data["dram"], data["ports"], data["clock"]
        array = dict(data["array"])
        changes = array.pop("fixed8")
        search = array.pop("search", True)
        array["modes"] = tuple(array["modes"])
        array["family"] = "xc7" if data["part"].startswith("xc7") else "xcup"
        mixed = EngineParams(**array)
        board = Board(
            name=data["name"],
            title=data["title"],
            part=data["part"],
            vivado_board=data["vivado_board"],
            status=data["status"],
            resources=Resources(**data["resources"]),
            dram_bytes=dram["bytes"],
            dram_peak=dram["peak_bytes_per_second"],
            dram_sustained=dram["sustained_bytes_per_second"],
            hp_ports=ports["hp"],
            hp_bits=ports["hp_bits"],
            vivado=_vivado(data["vivado"]),
            clock_mhz=float(clock["default_mhz"]),
            max_clock_mhz=float(clock["max_mhz"]),
            array=mixed,
            fixed8=dataclasses.replace(mixed, **changes),
            search=search,
            max_dsp_mhz=clock.get("max_dsp_mhz"),
        )
        peak = dram["bits"] // 8 * dram["mega_transfers"] * 1_000_000
    except KeyError as error:
        raise BoardError(f"{path}: field {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise BoardError(f"{path}: {error}") from error
    except ScheduleError as error:
        raise BoardError(f"{path}: [array] {error}") from error
    if board.name != path.parent.name:
        raise BoardError(f"{path}: name {board.name!r} differs from the folder's")
    if peak != board.dram_peak:
        raise BoardError(f"{path}: peak_bytes_per_second should be {peak} (bits x transfers)")
    _check(path, board)
    return board


def _vivado(data: dict) -> Vivado:
    return Vivado(data["processor"], tuple(data["hp_order"]), data.get("board_connections", ""))


def _check(path: Path, board: Board) -> None:
    """BoardError for figures that contradict each other or cannot be built."""
    rules = (
        (
            board.hp_bits in HP_BITS,
            f"hp_bits must be one of {', '.join(map(str, HP_BITS))}",
        ),
        (
            0 < board.dram_sustained <= board.dram_peak,
            "sustained_bytes_per_second must lie between 1 and the peak",
        ),
        (
            board.vivado.processor in PROCESSORS,
            f"processor must be one of {', '.join(PROCESSORS)}",
        ),
        (
            sorted(board.vivado.hp_order) == list(range(board.hp_ports)),
            f"hp_order must name each of the {board.hp_ports} ports once",
        ),
    )
    for ok, rule in rules:
        if not ok:
            raise BoardError(f"{path}: {rule}")
