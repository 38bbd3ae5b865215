"""Zero skipping: output-channel groups without the weight slots whose weights are all zero.

A slot is the CI inputs of a plane x the columns of a group x one tap. Which of them are zero is
another question for every group, so a layer is cut into groups of any modes at any multiple of a
column subgroup, the fewest cycles in all, and every group gets a list of the slots that it keeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fpga_gen.contract.isa import MAX_LIST, limit
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.records import BlockRecord, GroupHead, SlotEntry
from fpga_gen.contract.slot_layout import Half
from fpga_gen.schedule.cycles.timing import Timing
from fpga_gen.schedule.lower.conv_blocks import ConvBlock
from fpga_gen.schedule.lower.conv_plan import (
    RUN_CYCLES,
    ConvPlan,
    ConvRun,
    ConvWork,
    Prices,
    group_prices,
    last_drain,
    tile_limits,
)
from fpga_gen.schedule.lower.walk import modes_of

HEAD_CYCLES = 3  # of a group's head and list, where the loader has no time to spare
MAX_LISTED_BLOCKS = limit("block") + 1


@dataclass(frozen=True)
class GroupSlots:
    """Slots of one group in the order of the stream, then the repeated ones: indices into those of
    its run's blocks, one block after the other; head: how many of which kind."""

    slots: tuple[int, ...]
    head: GroupHead


def plan_skipping(work: ConvWork, params: EngineParams, timing: Timing) -> ConvPlan | None:
    """Runs of groups with slot lists that take the fewest model cycles; None for a layer without
    zero slots, or of which a group fits in no mode."""
    live = work.live
    if work.period or live.all():
        return None
    modes = modes_of(params, work.geometry)
    counts = {m: _kept(live, work, params.group_channels(m), params.sub_columns) for m in modes}
    if all((kept == live.shape[1]).all() for kept in counts.values()):
        return None
    best: ConvPlan | None = None
    for most in tile_limits(params):
        prices = group_prices(params, timing, work.geometry, work.out16, most)
        found = cheapest_groups(counts, prices, work.channels, params)
        if found is None:
            continue
        runs, cycles = _joined(found[0], live, work, params), found[1]
        cycles += last_drain(params, work.geometry, runs[-1].mode, work.out16, most)
        if best is None or cycles < best.cycles:
            best = ConvPlan(tuple(runs), cycles, most)
    return best


def _kept(live: np.ndarray, work: ConvWork, size: int, step: int) -> np.ndarray:
    """Slots that a group of `size` channels keeps, by its first channel / step."""
    low = np.concatenate([np.full(len(b.taps), b.low) for b in work.blocks])
    starts = range(0, work.channels, step)
    used = np.stack([live[first : first + size].any(0) for first in starts])
    carriers = 1 + any(b.wide for b in work.blocks)  # of the shift: a low slot and its high one
    forced = carriers * low.any() * ~used[:, low].any(1)
    return np.maximum(used.sum(1) + forced, 1)


def cheapest_groups(
    counts: dict[int, np.ndarray], prices: Prices, channels: int, params: EngineParams
) -> tuple[list[tuple[int, int]], int] | None:
    """((mode, first channel) of every group, cycles), the fewest that there are. counts: slots that
    a group of a mode keeps, by its first channel / columns of a subgroup."""
    step = params.sub_columns
    ends = -(-channels // step)
    best: dict[tuple[int, int], tuple[int, tuple[int, int] | None]] = {(0, 0): (0, None)}
    for at in range(ends):
        here = [(mode, cost) for (end, mode), (cost, _) in best.items() if end == at]
        for mode, price in prices.items():
            kept = int(counts[mode][at])
            one = price(kept) if kept <= MAX_LIST else None
            if one is None:
                continue
            target = (min(at + params.group_channels(mode) // step, ends), mode)
            for before, cost in here:
                start = RUN_CYCLES if before not in (0, mode) else 0
                total = cost + one + HEAD_CYCLES + start
                if target not in best or total < best[target][0]:
                    best[target] = (total, (at, before))
    finals = [(cost, mode) for (end, mode), (cost, _) in best.items() if end == ends]
    if not finals:
        return None
    cycles, mode = min(finals)
    groups: list[tuple[int, int]] = []
    at = ends
    while at:
        before = best[at, mode][1]
        assert before is not None
        groups.append((mode, before[0] * step))
        at, mode = before
    return groups[::-1], cycles


def _joined(
    groups: list[tuple[int, int]], live: np.ndarray, work: ConvWork, params: EngineParams
) -> list[ConvRun]:
    """Runs of consecutive groups of one mode. Their blocks are those that some group keeps slots
    of; planes of low bytes come with those of the high bytes."""
    of_block = np.repeat(np.arange(len(work.blocks)), work.slots)
    low = [i for i, b in enumerate(work.blocks) if b.low]
    wide = [i for i, b in enumerate(work.blocks) if b.wide and not b.low]
    runs: list[tuple[int, int, int]] = []  # mode, first channel, groups
    for mode, first in groups:
        if runs and runs[-1][0] == mode:
            runs[-1] = (mode, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((mode, first, 1))
    out = []
    for mode, first, count in runs:
        end = min(first + count * params.group_channels(mode), work.channels)
        used = set(of_block[live[first:end].any(0)].tolist())
        if low and not used & set(low):
            used |= {*wide[:1], low[0]}
        used = used or {0}
        out.append(ConvRun(mode, first, count, end - first, tuple(sorted(used)), skips=True))
    return out


def group_slots(blocks: Sequence[ConvBlock], channels: slice, most: int) -> GroupSlots:
    """The slots that a group keeps. blocks: of its run, low ones last, one for each wide one if
    there are any; most: slots of one group that the weight buffer holds."""
    lanes = np.concatenate([b.weight[channels].any(0) for b in blocks])  # (slots, CI)
    middle = lanes.shape[1] // 2
    halves = np.where(
        ~lanes[:, middle:].any(1),
        Half.LOW,
        np.where(lanes[:, :middle].any(1), Half.BOTH, Half.HIGH),
    )
    kept = lanes.any(1)
    low, wide = (
        np.concatenate([np.full(len(b.taps), flag(b)) for b in blocks])
        for flag in (lambda b: b.low, lambda b: b.wide and not b.low)
    )
    if low.any() and not kept[low].any():
        kept[[*np.flatnonzero(wide)[:1], np.flatnonzero(low)[0]]] = True
    if not kept.any():
        kept[0] = True
    parts = [np.flatnonzero(kept & part) for part in (~low & ~wide, wide, low)]
    repeats = len(parts[2]) if wide.any() else 0
    if kept.sum() - repeats > most or repeats > limit("repeats"):
        repeats = 0
    if low.any():
        halves[~wide if repeats else slice(None)] = Half.BOTH
    order = [part[np.argsort(halves[part], kind="stable")] for part in parts[:2]]
    pairs: dict[int, int] = {}
    if wide.any():
        pairs = dict(zip(np.flatnonzero(wide).tolist(), np.flatnonzero(low).tolist(), strict=True))
    last = [pairs[i] for i in order[1].tolist()] if pairs else parts[2].tolist()
    slots = [*np.concatenate(order).tolist(), *last]
    sent = halves[slots[: len(slots) - repeats]]
    ends = np.cumsum([(sent == half).sum() for half in Half])
    return GroupSlots(tuple(slots), GroupHead(len(slots), int(ends[0]), int(ends[1]), repeats))


def cut_lists(
    run: ConvRun, blocks: Sequence[ConvBlock], params: EngineParams, most: int
) -> list[tuple[ConvRun, tuple[GroupSlots, ...]]]:
    """The run in parts whose lists fit an instruction, each with the slots of its groups."""
    size = params.group_channels(run.mode)
    parts: list[tuple[ConvRun, tuple[GroupSlots, ...]]] = []
    for first in range(run.first, run.first + run.channels, size):
        end = min(first + size, run.first + run.channels)
        group = group_slots(blocks, slice(first, end), most)
        if parts:
            last, groups = parts[-1]
            if sum(len(g.slots) for g in (*groups, group)) <= MAX_LIST:
                longer = replace(last, groups=last.groups + 1, channels=end - last.first)
                parts[-1] = (longer, (*groups, group))
                continue
        parts.append((replace(run, first=first, groups=1, channels=end - first), (group,)))
    return parts


def slot_lists(
    groups: Sequence[GroupSlots], records: Sequence[BlockRecord]
) -> tuple[SlotEntry, ...]:
    """The table of the groups' lists, in whole words."""
    place = [
        (number, record.tap_start + k)
        for number, record in enumerate(records)
        for k in range(record.tap_count)
    ]
    entries = [
        SlotEntry(*place[slot], final=int(n == len(group.slots) - 1))
        for group in groups
        for n, slot in enumerate(group.slots)
    ]
    return tuple(entries + [SlotEntry()] * (-len(entries) % SlotEntry.PER_WORD))
