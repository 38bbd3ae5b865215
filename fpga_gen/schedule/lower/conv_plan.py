"""How a convolution uses the array: runs of output groups of one mode that share their blocks.

A dense layer may mix modes: 34 channels fill 21 + 14 columns better than 42. A grouped convolution
has many blocks of zeros. Where its columns begin anew every CI channels (see quant/kinds.py), each
CI channels are planned as a layer of their own with only the blocks they need, one for a depthwise
layer; other layers with zero blocks are cut into runs of consecutive groups of one mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from fpga_gen.contract.isa import limit
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.schedule.cycles.timing import Timing, drain_time, group_cycles, tile_sizes
from fpga_gen.schedule.lower.conv_blocks import ConvBlock
from fpga_gen.schedule.lower.walk import Geometry, lanes_of, modes_of, pixel_groups, tiles

RUN_CYCLES = 60  # cost of one more instruction when a layer is split

Prices = dict[int, Callable[[int], int | None]]  # by mode: cycles of a group of so many slots


@dataclass(frozen=True, eq=False)
class ConvWork:
    """A convolution as the array sees it. blocks: in execution order; wide: some maps that it reads
    have 16 bits; out16: its result has; period: of the output tensor, see quant/kinds.py."""

    name: str
    blocks: list[ConvBlock]
    geometry: Geometry
    wide: bool
    out16: bool
    period: int = 0

    @property
    def channels(self) -> int:
        """Output channels."""
        return len(self.blocks[0].weight)

    @cached_property
    def slots(self) -> np.ndarray:
        """Weight slots of every block."""
        return np.array([len(b.taps) for b in self.blocks])

    @cached_property
    def needed(self) -> np.ndarray:
        """bool (channels, blocks): which filters have weights in which blocks."""
        return np.stack([b.weight.any((1, 2)) for b in self.blocks], axis=1)

    @cached_property
    def live(self) -> np.ndarray:
        """bool (channels, slots of all blocks): which filters have weights in which slots."""
        return np.concatenate([b.weight.any(2) for b in self.blocks], axis=1)


@dataclass(frozen=True)
class ConvRun:
    """`groups` column groups of a mode for `channels` output channels from `first` on; blocks:
    indices of the blocks they need; skips: every group has only the slots that it needs."""

    mode: int
    first: int
    groups: int
    channels: int
    blocks: tuple[int, ...]
    skips: bool = False


@dataclass(frozen=True)
class ConvPlan:
    """Runs in channel order, their model cycles up to the drain of the last result, and the most
    pixel groups of a tile."""

    runs: tuple[ConvRun, ...]
    cycles: int
    tile_limit: int


def tile_limits(params: EngineParams) -> tuple[int, ...]:
    """Tile sizes to choose from. A smaller tile leaves less to drain at the end of a layer, when
    the next one waits; a larger one gives more time to load each weight slot."""
    most = params.tile_groups
    return most, most * 3 // 4, most // 2


def group_prices(
    params: EngineParams, timing: Timing, geometry: Geometry, out16: bool, tile_limit: int
) -> Prices:
    """Cycles of one column group over all tiles, by mode, as functions of the weight slots; None
    where the slots do not fit the weight buffer."""
    room = (params.weight_words - timing.weight_margin) * params.stream_granules
    prices: Prices = {}
    for mode in modes_of(params, geometry):
        lanes = lanes_of(params, geometry, mode)
        split = tiles(pixel_groups(params, geometry, mode), tile_limit)
        whole = limit("slots")
        if split[0] > 1:  # replayed for every tile
            whole = min(whole, room // params.slot_granules(mode))

        def price(slots: int, mode=mode, lanes=lanes, split=split, whole=whole) -> int | None:
            if slots > whole:
                return None
            return group_cycles(params, timing, mode, lanes, slots, split, out16)

        prices[mode] = lru_cache(maxsize=None)(price)
    return prices


def mode_mix(
    params: EngineParams, prices: Prices, channels: int, slots: int
) -> tuple[tuple[tuple[int, int], ...], int] | None:
    """Fewest cycles for a dense layer: ((mode, groups), ...) that cover its channels, and the
    cycles; None if a group fits in no mode."""
    cost = {m: c for m, price in prices.items() if (c := price(slots)) is not None}
    best: tuple[tuple[tuple[int, int], ...], int] | None = None

    def extend(modes: tuple[int, ...], rest: int, chosen: tuple, cycles: int) -> None:
        nonlocal best
        if best is not None and cycles >= best[1]:
            return
        if rest <= 0:
            best = (chosen, cycles)
            return
        if not modes:
            return
        mode, size = modes[0], params.group_channels(modes[0])
        most = -(-rest // size)
        fewest = 0 if len(modes) > 1 else most
        for groups in range(most, fewest - 1, -1):
            run = ((mode, groups),) if groups else ()
            start = RUN_CYCLES if groups and chosen else 0
            extend(
                modes[1:], rest - groups * size, chosen + run, cycles + groups * cost[mode] + start
            )

    extend(tuple(sorted(cost)), channels, (), 0)
    return best


def _mixed_runs(
    params: EngineParams,
    mix: tuple[tuple[int, int], ...],
    window: tuple[int, int],
    used: tuple[int, ...],
) -> list[ConvRun]:
    """Runs of a `mode_mix` for the output channels [first, end)."""
    runs, (first, end) = [], window
    for mode, groups in mix:
        channels = min(groups * params.group_channels(mode), end - first)
        runs.append(ConvRun(mode, first, groups, channels, used))
        first += channels
    return runs


def _period_runs(
    work: ConvWork, params: EngineParams, prices: Prices, mix: bool
) -> tuple[list[ConvRun], int] | None:
    """The best runs of a layer whose columns begin anew every `period` channels, and their cycles;
    mix: several modes for one period."""
    slots, period = work.slots, work.period
    runs: list[ConvRun] = []
    cycles = 0
    for index, needed in enumerate(_needed(work, period)):
        used = tuple(np.flatnonzero(needed).tolist())
        first = index * period
        end = min(first + period, work.channels)
        offers = [prices] if mix else [{m: price} for m, price in prices.items()]
        found = [mode_mix(params, o, end - first, int(slots[list(used)].sum())) for o in offers]
        best = min((f for f in found if f), key=lambda f: f[1], default=None)
        if best is None:
            return None
        runs += _mixed_runs(params, best[0], (first, end), used)
        cycles += best[1] + RUN_CYCLES
    return runs, cycles


def _runs(
    needed: np.ndarray, slots: np.ndarray, cost: Callable[[int], int | None]
) -> tuple[list[tuple[int, int, tuple[int, ...]]], int] | None:
    """Cheapest split of the groups into consecutive runs; needed: bool (groups, blocks).

    cost(slots) gives the cycles of one group, or None if it does not fit.
    """
    groups = len(needed)
    best: list[int | None] = [0] + [None] * groups  # cycles of the groups up to each
    starts = [0] * (groups + 1)  # of the last run among them
    for end in range(1, groups + 1):
        union = np.zeros(needed.shape[1], bool)
        for start in range(end - 1, -1, -1):
            union |= needed[start]
            one = cost(int(slots[union].sum()))
            before = best[start]
            if one is None or before is None:
                continue
            total = before + (end - start) * one + RUN_CYCLES
            current = best[end]
            if current is None or total < current:
                best[end], starts[end] = total, start
    whole = best[groups]
    if whole is None:
        return None
    runs, end = [], groups
    while end:
        start = starts[end]
        used = np.flatnonzero(needed[start:end].any(0))
        runs.append((start, end, tuple(used.tolist())))
        end = start
    return runs[::-1], whole


def _needed(work: ConvWork, group: int) -> np.ndarray:
    """bool (groups, blocks): which blocks have weights in which group of `group` channels.

    A wide layer keeps one low block (it carries the shift), any layer keeps one block.
    """
    needed = np.logical_or.reduceat(work.needed, np.arange(0, work.channels, group))
    low = np.flatnonzero([b.low for b in work.blocks])
    if low.size:
        needed[~needed[:, low].any(1), low[0]] = True
    needed[~needed.any(1), 0] = True
    return needed


def last_drain(
    params: EngineParams, geometry: Geometry, mode: int, out16: bool, tile_limit: int
) -> int:
    """Cycles that the exit path takes for the last tile of a layer."""
    split = tiles(pixel_groups(params, geometry, mode), tile_limit)
    size = tile_sizes(*split)[-1][1]
    return drain_time(params, lanes_of(params, geometry, mode), size, out16)


def plan_conv(work: ConvWork, params: EngineParams, timing: Timing, mix: bool = True) -> ConvPlan:
    """Runs with the fewest model cycles; ScheduleError if no mode fits the board.

    mix: modes may differ within the layer.
    """
    best: ConvPlan | None = None
    for most in tile_limits(params):
        prices = group_prices(params, timing, work.geometry, work.out16, most)
        for runs, cycles in _choices(work, params, prices, mix):
            cycles += last_drain(params, work.geometry, runs[-1].mode, work.out16, most)
            if best is None or cycles < best.cycles:
                best = ConvPlan(tuple(runs), cycles, most)
    if best is None:
        words = min(params.slot_granules(m) for m in modes_of(params, work.geometry))
        smallest = -(-words * int(work.slots.sum()) // params.stream_granules)
        raise ScheduleError(
            f"layer '{work.name}' is too big for the board: the weights of one group of output "
            f"channels take {smallest} words, the weight buffer holds {params.weight_words}"
        )
    return best


def _choices(
    work: ConvWork, params: EngineParams, prices: Prices, mix: bool
) -> Iterator[tuple[list[ConvRun], int]]:
    """(runs, cycles) of the best mix, or of every mode alone."""
    if work.period:
        found = _period_runs(work, params, prices, mix)
        if found:
            yield found
        return
    slots, channels = work.slots, work.channels
    for mode, price in prices.items():
        per_group = params.group_channels(mode)
        needed = _needed(work, per_group)
        if (needed == needed[0]).all():
            used = tuple(np.flatnonzero(needed[0]).tolist())
            offered = prices if mix else {mode: price}
            chosen = mode_mix(params, offered, channels, int(slots[list(used)].sum()))
            if chosen:
                yield _mixed_runs(params, chosen[0], (0, channels), used), chosen[1]
        else:
            split = _runs(needed, slots, price)
            if split:
                runs = []
                for first, end, used in split[0]:
                    window = (first * per_group, min(end * per_group, channels))
                    runs += _mixed_runs(params, ((mode, end - first),), window, used)
                yield runs, split[1]
