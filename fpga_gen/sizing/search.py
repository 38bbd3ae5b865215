"""Search for the engine with the fewest cycles that fits a board.

Candidates are all shapes of the array (pixels, modes, DSP and SP2 columns) whose memories fill the
board's. Each is priced with the costs of mapped blocks and ranked with the quick cycle model;
choose.py looks at the first ones again. Cycles fall with every column more, so of one shape only
the largest engines matter.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from fpga_gen.boards import Board, Resources
from fpga_gen.contract.column_kinds import COARSE, DSP_KIND, KINDS, ColumnKind
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.resources import LIMITS, NAMES, estimate_resources, memory_blocks
from fpga_gen.schedule.cycles.timing import board_timing
from fpga_gen.sizing.cycles import FrameCycles, Work, frame_cycles

PIXELS = (1, 2, 4, 8, 16)
MODES = ((1, 2, 3), (1, 2), (1, 3), (1,))
PORTS = (4, 2, 1)
FEWEST_PORTS = 2  # tried beside more, where that leaves room for another column
WEIGHT_WORDS = (4096, 2048, 1024, 512)
DEPTHS = (4096, 8192)  # rows of a bank, in whole URAMs; an address reaches no further
SHOWN = 10
TRIED = 3  # numbers of columns of a coarse kind that comes last
NEARLY_FULL = 0.85  # of a limit: below that, another step of columns would have fitted
FULL_MEMORY = 0.95  # of the largest feature memory: enough where every engine needs row bands


@dataclass(frozen=True)
class Candidate:
    """An engine that fits, with its figures. cycles: of the quick model; scheduled: of a whole
    schedule of the network before quantisation, where one was made."""

    params: EngineParams
    cycles: FrameCycles
    resources: Resources
    scheduled: int | None = None

    def shares(self, board: Board) -> dict[str, float]:
        """Share of the board by primitive; what the board lacks is left out."""
        need, have = asdict(self.resources), asdict(board.resources)
        return {key: need[key] / have[key] for key in need if have[key]}

    def limit(self, board: Board) -> str:
        """What keeps the engine from being faster: the weight stream, the logic that is nearest to
        its limit, or, with room left, the network. Memories are filled on purpose."""
        if self.cycles.weights > 0.1 * self.cycles.total:
            return "DRAM: waits for weights"
        shares = self.shares(board)
        key = max(("luts", "flip_flops", "dsps"), key=lambda k: shares[k] / LIMITS[k])
        if shares[key] / LIMITS[key] < NEARLY_FULL:
            return "network: a larger engine gains nothing"
        return f"{NAMES[key]} {100 * shares[key]:.0f} % of {100 * LIMITS[key]:.0f} %"


def find_engines(
    work: Work,
    board: Board,
    scheme: str,
    count: int = SHOWN,
    *,
    double_clock: bool = False,
    exit_pixels: int = 1,
    clock_mhz: float | None = None,
) -> tuple[Candidate, ...]:
    """The `count` best engines for a network on a board, best first.

    An engine whose memory holds all maps goes before one that needs row bands. scheme,
    double_clock: as in `Board.default_array`; exit_pixels: of the engine;
    clock_mhz: of the engine, None for the board's; it decides how many bytes of DRAM there are per
    cycle.

    Raises:
        ScheduleError: not even the smallest engine fits.
    """
    template = replace(board.default_array(scheme, double_clock), activations=work.tables)
    template = replace(template, exit_pixels=exit_pixels)
    engines = list(_engines(board, template))
    if not engines:
        raise ScheduleError(
            f"no engine fits {board.name}: its {board.resources.luts:,} LUTs and "
            f"{board.resources.dsps:,} DSPs are too few for the smallest array"
        )
    roomy = [p for p in engines if work.words(p) <= p.words]
    if not roomy:
        most = max(p.words * p.in_channels for p in engines)
        roomy = [p for p in engines if p.words * p.in_channels >= FULL_MEMORY * most]
    best: list[Candidate] = []
    for params in sorted(roomy, key=lambda p: -p.macs_per_cycle):
        # Even a full array could not reach the list; nor can any engine after this one.
        if len(best) == count and work.macs / params.macs_per_cycle > best[-1].cycles.total:
            break
        rate = board.read_bytes_per_cycle(params.ports, clock_mhz or board.clock_mhz)
        cycles = frame_cycles(work, params, board_timing(rate))
        best.append(Candidate(params, cycles, estimate_resources(params)))
        best.sort(key=lambda c: (c.cycles.total, c.resources.luts))
        del best[count:]
    return tuple(best)


def _engines(board: Board, template: EngineParams) -> Iterator[EngineParams]:
    """Engines with the template's kinds of columns within the limits; of one shape and number of
    columns of the other kinds the most of the last kind and, of a coarse one, somewhat fewer, which
    may suit the layers better; fewer ports only where more leave no room for these columns."""
    for pixels, modes in itertools.product(PIXELS, MODES):
        seen: set[tuple[int, ...]] = set()  # columns that more ports leave room for
        for ports in (p for p in PORTS if p <= board.hp_ports):
            base = _memories(board, template, pixels, modes, ports)
            if base is None:
                continue
            for engine in _splits(board, base, {}, template.kinds):
                if engine.figures not in seen:
                    seen.add(engine.figures)
                    yield engine
            if ports <= FEWEST_PORTS:
                break


Counts = dict[ColumnKind, int]


def _splits(
    board: Board, base: EngineParams, counts: Counts, kinds: tuple[ColumnKind, ...]
) -> Iterator[EngineParams]:
    """Engines like `base` with these numbers of columns and all splits of `kinds`, as in
    `_engines`."""
    kind, *others = kinds
    step, most = kind.step(base), _most(board, base, counts, kind)
    if not others:
        tried = TRIED if kind in COARSE else 1
        for number in range(most, max(-1, most - tried * step), -step):
            engine = _with_columns(base, {**counts, kind: number})
            if engine is not None and _fits(board, engine):
                yield engine
        return
    least = step if kind is DSP_KIND and base.double_clock else 0
    previous = -1
    for number in range(most, least - 1, -step):
        # Fewer columns of this kind must leave room for more of the others.
        found = list(_splits(board, base, {**counts, kind: number}, tuple(others)))
        rest = max((engine.columns - number for engine in found), default=0)
        if rest > previous:
            previous = rest
            yield from found


def _with_columns(base: EngineParams, counts: Counts) -> EngineParams | None:
    """The engine with these columns and no others; None if the rules of `EngineParams` forbid
    them."""
    columns = {kind.field: counts.get(kind, 0) for kind in KINDS}
    try:
        return replace(base, **columns)
    except ScheduleError:
        return None


def _most(board: Board, base: EngineParams, counts: Counts, kind: ColumnKind) -> int:
    """Most columns of a kind that fit beside the others, a multiple of its step."""
    step = kind.step(base)

    def fits(number: int) -> bool:
        engine = _with_columns(base, {**counts, kind: number * step})
        return engine is not None and _fits(board, engine)

    low, high = 0, 1
    while fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low * step


def _fits(board: Board, params: EngineParams) -> bool:
    need, have = asdict(estimate_resources(params)), asdict(board.resources)
    return all(need[key] <= share * have[key] for key, share in LIMITS.items())


def _memories(
    board: Board, template: EngineParams, pixels: int, modes: tuple[int, ...], ports: int
) -> EngineParams | None:
    """An engine of this shape with the fewest columns, its memories filling the board's: as many
    rows as fit, and as few banks in block RAM as keep within the limit on URAM."""
    first = template.kinds[0]
    columns = dict.fromkeys((kind.field for kind in KINDS), 0)
    columns[first.field] = first.block(template) * math.lcm(*modes)
    for words, rows in itertools.product(WEIGHT_WORDS, DEPTHS[::-1]):
        try:
            base = replace(
                template, **columns, pixels=pixels, modes=modes, ports=ports, bram_banks=0,
                weight_words=words, bank_rows=rows,
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
