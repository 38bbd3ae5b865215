"""Block and tap tables of CONV and POOL instructions, as short as they can be made.

An instruction reads blocks x taps: a tap is an offset in memory and, for the mask, one in the map.
Planes of a map lie at equal distances, so a tap may as well lead to a further plane (its offset in
the map stays): 64 planes of a 1x1 convolution are 8 blocks and 8 taps. The order of the slots, and
with it that of the weights, is the same as with a block for every plane.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fpga_gen.contract.address import pack_address
from fpga_gen.contract.isa import MAX_BLOCKS, MAX_TAPS
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import BlockRecord, TapRecord
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.lower.conv_blocks import ConvBlock
from fpga_gen.schedule.lower.walk import Geometry, Tap


class TapTable:
    """Tap records of one instruction; equal lists, and the starts of longer ones, share them."""

    def __init__(self, params: EngineParams, in_w: int, name: str) -> None:
        self.records: list[TapRecord] = []
        self._params, self._in_w, self._name = params, in_w, name
        self._starts: dict[tuple, int] = {}

    def add(self, taps: tuple[Tap, ...], planes: int = 1, step: int = 0) -> tuple[int, int]:
        """(tap_start, tap_count) of a list of taps, repeated for `planes` that are `step` apart."""
        key = (taps, planes, step)
        if key not in self._starts:
            start = len(self.records)
            for plane in range(planes):
                self._starts.setdefault((taps, plane + 1, step if plane else 0), start)
                for dy, dx in taps:
                    address = plane * step + dy * self._in_w + dx
                    code = pack_address(address, self._params.banks)
                    self.records.append(TapRecord(code, dy, dx))
            if len(self.records) > MAX_TAPS:
                raise ScheduleError(
                    f"layer '{self._name}' needs more than {MAX_TAPS} kernel taps: "
                    "use a smaller kernel"
                )
        return self._starts[key], planes * len(taps)


@dataclass(frozen=True)
class _Run:
    """`planes` passes over `taps`, `step` words apart."""

    address: int
    step: int
    planes: int
    taps: tuple[Tap, ...]
    pad: int
    low: bool


def conv_tables(
    blocks: Sequence[ConvBlock], geometry: Geometry, params: EngineParams, name: str
) -> tuple[tuple[BlockRecord, ...], tuple[TapRecord, ...]]:
    """(block records, tap records) of a CONV that reads `blocks` in this order."""
    runs = _runs([part for block in blocks for part in _parts(block, geometry)])
    counts = _planes_by_record(runs)
    table = TapTable(params, geometry.in_w, name)
    for (taps, step), planes in sorted(counts.items(), key=lambda item: -item[1]):
        table.add(taps, planes, step if planes > 1 else 0)
    records: list[BlockRecord] = []
    for run in runs:
        most = counts[run.taps, run.step]
        for first in range(0, run.planes, most):
            planes = min(most, run.planes - first)
            start, count = table.add(run.taps, planes, run.step if planes > 1 else 0)
            records.append(
                BlockRecord(
                    address=pack_address(run.address + first * run.step, params.banks),
                    tap_start=start,
                    tap_count=count,
                    pad=run.pad,
                    shift=int(run.low),
                )
            )
    if len(records) > MAX_BLOCKS:
        raise ScheduleError(
            f"layer '{name}' reads {len(blocks)} channel blocks in {len(records)} records, at most "
            f"{MAX_BLOCKS} fit an instruction: use fewer input channels"
        )
    return tuple(records), tuple(table.records)


def _parts(block: ConvBlock, geometry: Geometry) -> list[_Run]:
    """A block as a run of one plane; a kernel too large for the table as its rows, if they lie
    inside the map for every output row: their offsets in the map need not be told apart."""
    whole = _Run(block.address, block.plane, 1, block.taps, block.pad, block.low)
    rows = defaultdict(list)
    for dy, dx in block.taps:
        rows[dy].append((0, dx))
    last = (geometry.rows[1] - 1) * geometry.stride[0]
    inside = min(rows) + geometry.rows[0] * geometry.stride[0] >= 0
    if len(block.taps) <= MAX_TAPS or not inside or max(rows) + last >= geometry.in_h:
        return [whole]
    step = geometry.in_w * (max(rows) - min(rows)) // max(len(rows) - 1, 1)
    return [
        _Run(block.address + dy * geometry.in_w, step, 1, tuple(taps), block.pad, block.low)
        for dy, taps in rows.items()
    ]


def _runs(parts: list[_Run]) -> list[_Run]:
    """Neighbours of equal taps at the distance of their map's planes, joined."""
    runs: list[_Run] = []
    for part in parts:
        if runs:
            run = runs[-1]
            fits = (run.step, run.taps, run.pad, run.low) == (
                part.step, part.taps, part.pad, part.low,
            )  # fmt: skip
            if fits and part.address == run.address + run.planes * run.step:
                runs[-1] = _Run(run.address, run.step, run.planes + 1, run.taps, run.pad, run.low)
                continue
        runs.append(part)
    return runs


def _planes_by_record(runs: list[_Run]) -> dict[tuple[tuple[Tap, ...], int], int]:
    """Planes that a block record spans, by taps and step: those that make the tables shortest."""
    lengths: dict[tuple[tuple[Tap, ...], int], list[int]] = defaultdict(list)
    for run in runs:
        lengths[run.taps, run.step].append(run.planes)
    shortest = {
        taps: len(taps) for taps, _ in lengths
    }  # of each list: one may be a start of another
    room = MAX_TAPS - sum(shortest.values())
    counts = {}
    for key in sorted(lengths, key=lambda key: -sum(lengths[key])):
        size, planes = len(key[0]), lengths[key]
        own = shortest.pop(key[0], 0)  # what is in the table already

        def cost(n: int, size=size, planes=planes, own=own) -> int:
            return sum(-(-p // n) for p in planes) + (n * size - own if n > 1 else 0)

        most = min(max(planes), max(1, (room + own) // size))
        counts[key] = min(range(1, most + 1), key=lambda n: (cost(n), n))
        room -= counts[key] * size - own if counts[key] > 1 else 0
    return counts
