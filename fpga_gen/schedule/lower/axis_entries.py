"""The axis tables of a VECTOR instruction: which rows and columns each pixel of its result reads.

A read returns neighbouring words: two taps of a pixel, and those of the next one if they are near.

Results lie one behind the other, so a row too wide for the column table may be told as several
shorter ones: where all parts of a row read by the same pattern, each is a row of the instruction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import MAX_AXIS_TAPS, MAX_SKIP, MAX_TABLE
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import AxisEntry, ColumnEntry
from fpga_gen.errors import ScheduleError

NO_ENTRY = AxisEntry()
# Of each row or column of a result: (words from the first one, weight) of its taps.
Lines = Sequence[Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class AxisTables:
    """Some rows of a result. first: the number of the first one; origin: words from the first row
    of the source to where the addresses of `y` begin; rows, columns: as the instruction counts;
    reads: of a step and a row of taps."""

    first: int
    origin: int
    rows: int
    columns: int
    pair: bool
    reads: int
    y: tuple[AxisEntry, ...]
    x: tuple[ColumnEntry, ...]


def axis_tables(
    name: str, y: Lines, x: Lines, window: tuple[int, int], params: EngineParams
) -> Iterator[AxisTables]:
    """Tables of the output rows [first, end) of `window`, as many at a time as fit.

    y, x: of every output row and column, equally many taps each, those of a column side by side;
    name: the layer's, for errors.
    """
    pair = _pairs(params, x)
    reads = -(-len(x[0]) // params.vector_taps)
    parts = _parts(name, y, x, reads, pair)
    width, y_taps = len(x) // parts, len(y[0])
    steps = [x[k * width][0][0] - x[0][0][0] for k in range(parts)]
    columns = _x_entries(x[:width], pair, params)
    most = MAX_TABLE // (y_taps * parts)
    for first in range(*window, most):
        end = min(first + most, window[1])
        origin = min(address for row in y[first:end] for address, _ in row)
        entries = [
            AxisEntry(pack_address(address - origin + step, params.banks), weight)
            for row in range(first, end)
            for step in steps
            for address, weight in y[row]
        ]
        entries += [NO_ENTRY] * (len(entries) % 2)
        yield AxisTables(
            first, origin, (end - first) * parts, width, pair, reads, tuple(entries), columns
        )


def _pairs(params: EngineParams, x: Lines) -> bool:
    """Whether two neighbouring outputs fit one step: one read serves both."""
    if params.vector_pixels == 1:
        return False
    taps = min(params.vector_taps, len(x[0]))
    most = min(MAX_SKIP, params.vector_words - taps)
    pairs = zip(x[::2], x[1::2], strict=False)
    return all(0 <= second[0][0] - first[0][0] <= most for first, second in pairs)


def _parts(name: str, y: Lines, x: Lines, reads: int, pair: bool) -> int:
    """In how many equal parts a row is told."""
    y_taps, x_taps = len(y[0]), len(x[0])
    for parts in range(1, len(x) + 1):
        if len(x) % parts or max(y_taps, reads) > MAX_AXIS_TAPS or parts * y_taps > MAX_TABLE:
            continue
        width = len(x) // parts
        steps = -(-width // 2) if pair else width
        if steps * reads <= MAX_TABLE // 2 and _repeats(x, width):
            return parts
    raise ScheduleError(
        f"layer '{name}': {y_taps} x {x_taps} interpolation taps for a width of {len(x)} exceed "
        f"the tables ({MAX_TABLE} entries, {MAX_AXIS_TAPS} taps): resample in two steps or on the "
        "host"
    )


def _repeats(x: Lines, width: int) -> bool:
    """Whether all parts of `width` columns read by one pattern."""
    patterns = {
        tuple((a - x[k][0][0], w) for line in x[k : k + width] for a, w in line)
        for k in range(0, len(x), width)
    }
    return len(patterns) == 1


def _x_entries(x: Lines, pair: bool, params: EngineParams) -> tuple[ColumnEntry, ...]:
    """An entry per step and read."""
    entries = []
    for i in range(0, len(x), 2 if pair else 1):
        for k in range(0, len(x[i]), params.vector_taps):
            near = [line[k : k + params.vector_taps] for line in x[i : i + (2 if pair else 1)]]
            weights = [w for line in near for _, w in (*line, (0, 0))[:2]]
            assert all(b - a == 1 for line in near for (a, _), (b, _) in pairwise(line))
            entries.append(
                ColumnEntry(
                    pack_address(near[0][0][0], params.banks),
                    near[-1][0][0] - near[0][0][0],
                    *weights,
                )
            )
    return tuple(entries)
