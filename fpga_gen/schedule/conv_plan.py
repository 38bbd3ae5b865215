"""How a convolution uses the array: the mode, and runs of output groups that share their blocks.

A dense layer is one run. A layer with zero blocks (a grouped convolution) is cut into runs of
consecutive groups, each with only the blocks it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.params import EngineParams
from fpga_gen.quant.ir import QConv
from fpga_gen.schedule.conv_blocks import Block
from fpga_gen.schedule.timing import Timing, group_cycles
from fpga_gen.schedule.walk import Geometry, lanes_of, modes_of, pixel_groups, tiles

MAX_SLOTS = (1 << 14) - 1
RUN_CYCLES = 60  # cost of one more instruction when a block-sparse layer is split


@dataclass(frozen=True)
class ConvPlan:
    """Mode and runs [first group, end group) with the blocks each run needs."""

    mode: int
    runs: tuple[tuple[int, int, tuple[int, ...]], ...]
    cycles: int


def _runs(
    needed: np.ndarray, slots: np.ndarray, cost: Callable[[int], int | None]
) -> tuple[list[tuple[int, int, tuple[int, ...]]], int] | None:
    """Cheapest split of the groups into consecutive runs; needed: bool (groups, blocks).

    cost(slots) gives the cycles of one group, or None if it does not fit.
    """
    groups = len(needed)
    price = lru_cache(maxsize=None)(cost)

    if (needed == needed[0]).all():
        used = tuple(np.flatnonzero(needed[0]).tolist())
        one = price(int(slots[list(used)].sum()))
        return None if one is None else ([(0, groups, used)], groups * one)
    best: list[tuple[int, int] | None] = [(0, 0)] + [None] * groups  # (cycles, start of run)
    for end in range(1, groups + 1):
        union = np.zeros(needed.shape[1], bool)
        for start in range(end - 1, -1, -1):
            union |= needed[start]
            one = price(int(slots[union].sum()))
            before = best[start]
            if one is None or before is None:
                continue
            total = before[0] + (end - start) * one + RUN_CYCLES
            current = best[end]
            if current is None or total < current[0]:
                best[end] = (total, start)
    if best[groups] is None:
        return None
    runs, end = [], groups
    while end:
        start = best[end][1]
        used = np.flatnonzero(needed[start:end].any(0))
        runs.append((start, end, tuple(used.tolist())))
        end = start
    return runs[::-1], best[groups][0]


def _needed(blocks: list[Block], group: int, wide: bool) -> np.ndarray:
    """bool (groups, blocks): which blocks have weights in which group of `group` channels.

    A wide layer keeps one low block (it carries the shift), any layer keeps one block.
    """
    channels = len(blocks[0].weight)
    live = np.stack([b.weight.reshape(channels, -1).any(1) for b in blocks], axis=1)
    needed = np.stack([live[c : c + group].any(0) for c in range(0, channels, group)])
    first_low = next((i for i, b in enumerate(blocks) if b.low), 0)
    if wide:
        needed[:, first_low] = True
    needed[~needed.any(1), 0] = True
    return needed


def plan_conv(
    node: QConv,
    blocks: list[Block],
    geometry: Geometry,
    out16: bool,
    params: EngineParams,
    timing: Timing,
) -> ConvPlan:
    """Mode and split with the fewest model cycles; ScheduleError if none fits the board."""
    slots = np.array([len(b.taps) for b in blocks])
    best: ConvPlan | None = None
    smallest = 0
    limit = (params.weight_words - timing.weight_margin) * params.stream_granules
    for mode in modes_of(params, geometry):
        lanes = lanes_of(params, geometry, mode)
        split = tiles(params, pixel_groups(params, geometry, mode))
        granules = params.slot_granules(mode)
        whole = MAX_SLOTS if split[0] == 1 else min(MAX_SLOTS, limit // granules)

        def cost(total: int, mode=mode, lanes=lanes, split=split, whole=whole) -> int | None:
            if total > whole:
                return None
            return group_cycles(params, timing, mode, lanes, total, split, out16)

        found = _runs(_needed(blocks, params.group_channels(mode), node.wide), slots, cost)
        if found is None:
            words = -(-int(slots.sum()) * granules // params.stream_granules)
            smallest = min(smallest or words, words)
        elif best is None or found[1] < best.cycles:
            best = ConvPlan(mode, tuple(found[0]), found[1])
    if best is None:
        raise ScheduleError(
            f"layer '{node.name}' is too big for the board: the weights of one group of output "
            f"channels take {smallest} words, the weight buffer holds {params.weight_words}"
        )
    return best
