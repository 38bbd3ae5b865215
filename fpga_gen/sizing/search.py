"""Search for the engine with the fewest cycles that fits a board.

Candidates are all shapes of the array (pixels, modes, DSP and SP2 columns) whose memories fill the
board's. Each is priced with the costs of mapped blocks and ranked with the quick cycle model; the
first one wins. Cycles fall with every column more, so of one shape only the largest engines matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from fpga_gen.boards import Board, Resources
from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.params import EngineParams
from fpga_gen.resources import LIMITS, NAMES, estimate_resources, memory_blocks
from fpga_gen.sizing.cycles import FrameCycles, Work, frame_cycles

PIXELS = (1, 2, 3, 4, 6, 8, 10, 12, 16)
MODES = ((1, 2, 3), (1, 2), (1,))
PORTS = (4, 2, 1)
WEIGHT_WORDS = (4096, 2048, 1024, 512)
DEPTHS = (4096, 8192, 12288, 16384)  # rows of a bank, in whole URAMs
SHOWN = 10


@dataclass(frozen=True)
class Candidate:
    """An engine that fits, with its figures."""

    params: EngineParams
    cycles: FrameCycles
    resources: Resources

    def shares(self, board: Board) -> dict[str, float]:
        """Share of the board by primitive; what the board lacks is left out."""
        need, have = asdict(self.resources), asdict(board.resources)
        return {key: need[key] / have[key] for key in need if have[key]}

    def limit(self, board: Board) -> str:
        """What keeps the engine from being faster: the resource that is nearest to its limit, or
        the weight stream."""
        if self.cycles.weights > 0.1 * self.cycles.total:
            return "DRAM: waits for weights"
        shares = self.shares(board)
        key = max(("luts", "dsps"), key=lambda k: shares.get(k, 0.0) / LIMITS[k])
        return f"{NAMES[key]} {100 * shares[key]:.0f} % of {100 * LIMITS[key]:.0f} %"


def find_engines(
    work: Work, board: Board, scheme: str, count: int = SHOWN
) -> tuple[Candidate, ...]:
    """The `count` best engines for a network on a board, best first.

    Raises:
        ScheduleError: not even the smallest engine fits.
    """
    best: list[Candidate] = []
    for params in _by_peak(list(_engines(board, scheme))):
        # Even a full array could not reach the list; nor can any engine after this one.
        if len(best) == count and work.macs / params.macs_per_cycle > best[-1].cycles.total:
            break
        cycles = frame_cycles(work, params)
        best.append(Candidate(params, cycles, estimate_resources(params)))
        best.sort(key=lambda c: (c.cycles.total, c.resources.luts))
        del best[count:]
    if not best:
        raise ScheduleError(
            f"no engine fits {board.name}: its {board.resources.luts:,} LUTs and "
            f"{board.resources.dsps:,} DSPs are too few for the smallest array"
        )
    return tuple(best)


def _by_peak(engines: list[EngineParams]) -> list[EngineParams]:
    return sorted(engines, key=lambda p: -p.macs_per_cycle)


def _engines(board: Board, scheme: str) -> Iterator[EngineParams]:
    """Engines within the limits; of one shape and number of DSP columns the most SP2 columns."""
    for pixels in PIXELS:
        for modes in MODES:
            base = _memories(board, pixels, modes)
            if base is None:
                continue
            step = base.subgroups
            previous = -1
            for dsp in range(_most(board, base, "dsp_columns", 2 * step), -1, -2 * step):
                sp2 = 0
                if scheme == "mixed":
                    sp2 = _most(board, replace_columns(base, dsp, 0), "sp2_columns", step)
                if dsp + sp2 and sp2 > previous:
                    previous = sp2
                    for columns in range(sp2, max(-1, sp2 - 3 * step), -step):
                        engine = replace_columns(base, dsp, columns)
                        if engine is not None and _fits(board, engine):
                            yield engine


def replace_columns(base: EngineParams, dsp: int, sp2: int) -> EngineParams | None:
    """The engine with other columns; None if the rules of `EngineParams` forbid them."""
    try:
        return replace(base, dsp_columns=dsp, sp2_columns=sp2)
    except ScheduleError:
        return None


def _most(board: Board, base: EngineParams | None, name: str, step: int) -> int:
    """Most columns of a kind that fit, a multiple of `step`."""
    if base is None:
        return 0
    low, high = 0, 1
    other = {"dsp_columns": "sp2_columns", "sp2_columns": "dsp_columns"}[name]

    def fits(number: int) -> bool:
        if not number:
            return True
        values = {name: number * step, other: 0 if name == "dsp_columns" else base.dsp_columns}
        engine = replace_columns(base, values["dsp_columns"], values["sp2_columns"])
        return engine is not None and _fits(board, engine)

    while fits(high) and high < 64:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low * step


def _fits(board: Board, params: EngineParams) -> bool:
    need, have = asdict(estimate_resources(params)), asdict(board.resources)
    return all(need[key] <= share * have[key] for key, share in LIMITS.items())


def _memories(board: Board, pixels: int, modes: tuple[int, ...]) -> EngineParams | None:
    """An engine of this shape with one group of columns, its memories filling the board's: as
    many rows as fit, and as few banks in block RAM as keep within the limit on URAM."""
    columns = 1
    for mode in modes:
        columns = max(columns, mode)
    template = board.array
    for ports in [p for p in PORTS if p <= board.hp_ports]:
        for words in WEIGHT_WORDS:
            for rows in reversed(DEPTHS):
                try:
                    base = replace(
                        template, pixels=pixels, modes=modes, ports=ports, weight_words=words,
                        bank_rows=rows, dsp_columns=12 if len(modes) == 3 else 4, sp2_columns=0,
                        bram_banks=0,
                    )  # fmt: skip
                except ScheduleError:
                    continue
                for banks in range(base.banks + 1):
                    uram, bram = memory_blocks(replace(base, bram_banks=banks))
                    if bram > LIMITS["bram36"] * board.resources.bram36:
                        break
                    if uram <= LIMITS["uram"] * board.resources.uram:
                        return replace(base, bram_banks=banks)
    return None
