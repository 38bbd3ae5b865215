"""What an engine takes of a board, from blocks that Yosys mapped, and the check that it fits.

costs.json holds, for a few reference engines, the primitives of every class of block (written by
`python -m fpga_gen.synth.table`). Another engine's class costs as much as the nearest reference's
times the ratio of their sizes; URAM and block RAM follow from the shapes of the memories. Nothing
here is a result of place-and-route.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from fpga_gen.boards import Board, Resources
from fpga_gen.contract.column_kinds import KINDS, ColumnKind
from fpga_gen.contract.params import BLOCK_BITS, EngineParams, block_width
from fpga_gen.errors import BoardError, ScheduleError

COSTS = Path(__file__).with_name("costs.json")
LIMITS = {"luts": 0.83, "flip_flops": 0.80, "dsps": 0.97, "bram36": 0.95, "uram": 0.95}  # automatic
MAX_LUT_SHARE = 0.90  # above this, placement is not expected to succeed at the target clock
ASKED = {"luts": MAX_LUT_SHARE, "flip_flops": 1.0, "dsps": 1.0, "bram36": 1.0, "uram": 1.0}
URAM_ROWS, URAM_BITS = 4096, 72
BANK_BITS, BANK_ROWS = 16, 1024  # of half a block RAM with byte enables, its parity bits unused
# DSP48E1 for each DSP48E2, whose multiplier is two bits wider (both mapped by Yosys); the columns
# have a packing of their own (docs/decisions/0045).
DSP48E1_FACTOR = {"requantise": 2}
NAMES = {"luts": "LUTs", "flip_flops": "flip-flops", "dsps": "DSPs", "bram36": "BRAM36",
         "uram": "URAM"}  # fmt: skip
REMEDIES = {
    "flip_flops": "fewer columns",
    "bram36": "a smaller weight buffer",
    "uram": "fewer pixels",
    **{
        primitive: f"fewer {' or '.join(k.title for k in KINDS if k.scarce == primitive)} columns"
        for primitive in ("luts", "dsps")
    },
}


def auto_clock(board: Board, double_clock: bool) -> float:
    """Highest clock in whole MHz at which every mapped engine of the board's family leaves its nets
    what they should have (estimated, see synth/estimate.py), within what the board file allows.
    BoardError if none was mapped."""
    data = json.loads(COSTS.read_text("utf-8"))
    found = [
        entry["timing"]["reachable_mhz"]
        for entry in data["references"]
        if entry["params"]["family"] == board.array.family
        and entry["params"]["double_clock"] == double_clock
    ]
    if not found:
        raise BoardError(
            f"--clock-mhz auto: no engine of the family of {board.name} is in the table of mapped "
            "ones: give a clock in MHz"
        )
    limits = [board.max_clock_mhz]
    if double_clock and board.max_dsp_mhz is not None:
        limits.append(board.max_dsp_mhz / 2)
    return float(math.floor(min(*found, *limits)))


def lane_sources(params: EngineParams) -> int:
    """Different choices of pixel groups among the subgroups of the array."""
    s = params.subgroups
    return len({tuple(n // (s // m) for m in params.modes) for n in range(s)})


def _mode_muxes(p: EngineParams) -> float:
    """LUTs of the array's own multiplexers: activations, weights, drained lanes."""
    weights = p.sub_weight_bits * (p.subgroups - 1)
    return p.pixels * ((lane_sources(p) - 1) * p.word_bits + 8 * p.columns) + weights + 1


def _multipliers(kind: ColumnKind, cost: str) -> Callable[[EngineParams], float]:
    """Multipliers of the columns of a kind, if they are of this class of blocks."""
    return lambda p: p.pixels * kind.count(p) * p.in_channels if kind.costs[cost](p) else 0


# Size of a class of blocks, to which its cost is proportional.
SIZES: dict[str, Callable[[EngineParams], float]] = {
    **{cost: _multipliers(kind, cost) for kind in KINDS for cost in kind.costs},
    "lane skew": lambda p: p.pixels * lane_sources(p) * p.in_channels,
    "active weights": lambda p: p.sub_weight_bits * p.subgroups,
    "accumulators": lambda p: p.pixels * p.columns * max(1, p.tile_groups // 32),
    "array": _mode_muxes,
    "requantise": lambda p: p.requant_lanes,
    "exit path": lambda p: p.columns,
    "activation tables": lambda p: p.requant_lanes if p.activations else 0,
    "feature banks": lambda p: p.banks * p.word_bits,
    "feature memory": lambda p: p.banks * p.word_bits,
    "max-pool": lambda p: p.pixels * p.word_bits,
    "vector unit": lambda p: p.vector_pixels * p.word_bits,
    "lane masks": lambda p: p.lanes,
    "loader": lambda p: p.sub_weight_bits * p.subgroups + 2 * p.stream_bits,
    "parameter memory": lambda p: p.columns,
    "read ports": lambda p: p.ports,
    "control": lambda p: 1,
}
# Classes whose blocks another number of exit pixels changes: they are estimated from engines of the
# same number only.
EXIT_CLASSES = {"array", "exit path", "feature memory", "requantise"}
# (LUTs, flip-flops, DSPs) of one unit of a class that no reference has, mapped by Yosys (xcup).
UNLISTED: dict[str, tuple[float, float, float]] = {"activation tables": (29, 86, 0)}


@dataclass(frozen=True)
class MappedEngine:
    """A mapped engine: (LUTs, flip-flops, DSPs) of all blocks of each class."""

    params: EngineParams
    classes: dict[str, tuple[float, float, float]]


@cache
def references() -> tuple[MappedEngine, ...]:
    """The mapped engines of costs.json."""
    data = json.loads(COSTS.read_text("utf-8"))
    return tuple(
        MappedEngine(
            EngineParams.from_dict(entry["params"]),
            {name: tuple(cost) for name, cost in entry["classes"].items()},
        )
        for entry in data["references"]
    )


def estimate_resources(params: EngineParams) -> Resources:
    """Primitives of the generated engine (estimated from mapped blocks)."""
    total = [0.0, 0.0, 0.0]
    for name, size in SIZES.items():
        wanted = size(params)
        if not wanted:
            continue
        exit_pixels = params.exit_pixels if name in EXIT_CLASSES else None
        comparable = _comparable(exit_pixels, params.double_clock, params.family, params.sp2_code)
        known = [r for r in comparable if r.classes.get(name) and size(r.params)]
        if not known:
            if name not in UNLISTED:
                raise KeyError(f"no engine of costs.json has {name}: add one in synth/table.py")
            total = [t + wanted * c for t, c in zip(total, UNLISTED[name], strict=True)]
            continue
        nearest = min(
            known,
            key=lambda r: (
                abs(math.log(wanted / size(r.params))),
                abs(math.log(params.macs_per_cycle / r.params.macs_per_cycle)),
                params.exit_pixels != r.params.exit_pixels,
            ),
        )
        ratio = wanted / size(nearest.params)
        luts, flip_flops, dsps = nearest.classes[name]
        if params.family != nearest.params.family:
            dsps *= DSP48E1_FACTOR.get(name, 1)
        cost = (luts, flip_flops, dsps)
        total = [t + ratio * c for t, c in zip(total, cost, strict=True)]
    uram, bram = memory_blocks(params)
    return Resources(math.ceil(total[0]), math.ceil(total[1]), math.ceil(total[2]), bram, uram)


@cache
def _comparable(
    exit_pixels: int | None, double_clock: bool, family: str, sp2_code: str
) -> list[MappedEngine]:
    """References of so many exit pixels (None: any), of the same clocks, family and SP2 code too if
    there are any."""
    alike = [r for r in references() if exit_pixels in (None, r.params.exit_pixels)]
    same = [r for r in alike if r.params.double_clock == double_clock] or alike
    closer = [r for r in same if r.params.family == family and r.params.sp2_code == sp2_code]
    return closer or same


def memory_blocks(params: EngineParams) -> tuple[int, int]:
    """(URAM, BRAM36) of the feature banks, the weight ring, program, tables and FIFOs."""
    ultra = params.banks - params.bram_banks if params.family == "xcup" else 0
    uram = ultra * -(-params.word_bits // URAM_BITS) * -(-params.bank_rows // URAM_ROWS)
    bank = -(-params.word_bits // BANK_BITS) * -(-params.bank_rows // BANK_ROWS) / 2
    ring = _bram(params.stream_bits, params.weight_words)
    program = _bram(params.stream_bits, params.program_words // params.program_parts)
    tables = 5 * _bram(64, 512) + 1  # block, tap, list and axis tables; layer log
    fifos = 2 * (params.ports + 1)
    lookup = params.requant_lanes / 2 if params.activations else 0  # half a block RAM each
    blocks = (params.banks - ultra) * bank + ring + program + tables + fifos + lookup
    return uram, math.ceil(blocks)


def _bram(width: int, rows: int) -> int:
    """BRAM36 of a simple dual-port memory."""
    wide = block_width(rows)
    return -(-width // wide) * max(1, -(-rows // (BLOCK_BITS // wide)))


def excess(board: Board, params: EngineParams, limits: dict[str, float]) -> list[str]:
    """What an engine needs beyond these shares of the board, with what to change; empty: fits."""
    need, have = asdict(estimate_resources(params)), asdict(board.resources)
    over = [
        f"{NAMES[key]} {need[key]:,} of {int(share * have[key]):,} usable ({REMEDIES[key]})"
        for key, share in limits.items()
        if need[key] > share * have[key]
    ]
    if params.ports > board.hp_ports:
        over.append(f"HP ports {params.ports} of {board.hp_ports} usable (fewer ports)")
    return over


def check_fit(board: Board, params: EngineParams) -> None:
    """ScheduleError with every resource that the array would exceed, and what to change."""
    over = excess(board, params, ASKED)
    if over:
        raise ScheduleError(
            f"the array {params.figures_text} does not fit {board.name} (estimated): "
            f"{'; '.join(over)}"
        )
