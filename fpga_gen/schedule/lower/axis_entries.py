"""The axis tables of a VECTOR instruction: which rows and columns each pixel of its result reads.

Results lie one behind the other, so a row too wide for the column table may be told as several
shorter ones: where all parts of a row read by the same pattern, each is a row of the instruction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import MAX_AXIS_TAPS, MAX_SKIP, MAX_TABLE
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import AxisEntry
from fpga_gen.errors import ScheduleError

NO_ENTRY = AxisEntry()
# Of each row or column of a result: (words from the first one, weight) of its taps.
Lines = Sequence[Sequence[tuple[int, int]]]


@dataclass(frozen=True)
class AxisTables:
    """Some rows of a result. first: the number of the first one; origin: words from the first row
    of the source to where the addresses of `y` begin; rows, columns: as the instruction counts."""

    first: int
    origin: int
    rows: int
    columns: int
    pair: bool
    y: tuple[AxisEntry, ...]
    x: tuple[AxisEntry, ...]


def axis_tables(
    name: str, y: Lines, x: Lines, window: tuple[int, int], params: EngineParams
) -> Iterator[AxisTables]:
    """Tables of the output rows [first, end) of `window`, as many at a time as fit.

    y, x: of every output row and column, equally many taps each; name: the layer's, for errors.
    """
    pair = _pairs(params, x)
    parts = _parts(name, y, x, pair)
    width, y_taps = len(x) // parts, len(y[0])
    steps = [x[k * width][0][0] - x[0][0][0] for k in range(parts)]
    columns = _x_entries(x[:width], pair, params.banks)
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
        yield AxisTables(first, origin, (end - first) * parts, width, pair, tuple(entries), columns)


def _pairs(params: EngineParams, x: Lines) -> bool:
    """Whether two neighbouring outputs fit one step: one read serves both."""
    if params.vector_pixels == 1:
        return False
    most = min(MAX_SKIP, params.lanes - 1)
    pairs = zip(x[::2], x[1::2], strict=False)
    return all(0 <= second[0][0] - first[0][0] <= most for first, second in pairs)


def _parts(name: str, y: Lines, x: Lines, pair: bool) -> int:
    """In how many equal parts a row is told."""
    y_taps, x_taps = len(y[0]), len(x[0])
    for parts in range(1, len(x) + 1):
        if len(x) % parts or max(y_taps, x_taps) > MAX_AXIS_TAPS or parts * y_taps > MAX_TABLE:
            continue
        width = len(x) // parts
        columns = -(-width // 2) * 2 if pair else 2 * width
        if columns * x_taps <= MAX_TABLE and _repeats(x, width):
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


def _x_entries(x: Lines, pair: bool, banks: int) -> tuple[AxisEntry, ...]:
    """Two entries per step and tap: the first pixel's; the second's, relative to it."""
    entries = []
    for i in range(0, len(x), 2 if pair else 1):
        both = pair and i + 1 < len(x)
        for k, (address, weight) in enumerate(x[i]):
            entries.append(AxisEntry(pack_address(address, banks), weight))
            if both:
                skip = x[i + 1][0][0] - x[i][0][0]
                entries.append(AxisEntry(pack_address(skip, banks), x[i + 1][k][1]))
            else:
                entries.append(NO_ENTRY)
    return tuple(entries)
