"""Constants of the cycle model and the cost formulas that the lowering and the model share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fpga_gen.contract.latencies import EXIT_LATENCY
from fpga_gen.contract.params import PORT_BITS, SAFE_STEPS, EngineParams


@dataclass(frozen=True)
class Timing:
    """Cycles of the fixed-latency parts of the engine, calibrated against the RTL.

    slot_load, slot_round: see `load_time`; param_load: parameters of a VECTOR, beyond their stream
    words, to their place; param_place: a place for parameters is free to the first slot behind
    them, beyond the words that are read; head: a group's parameters to its first slot, where a head
    tells of it; array_latency: first read of a slot to the first step of its drain; drain_tail:
    last step of a drain to its memory write in an engine without tables; drain_ahead: see
    `drain_lead`; wait_tail: extra cycles of a `wait`; instruction: hand-over between instructions;
    vector_tail: last read of a VECTOR to its end; vector_block: change of plane; vector_shortest:
    reads in which it is prepared; load_word: cycles per stream word of a LOAD; load_idle,
    load_tail: its end for another LOAD, and for what takes weights; store_latency: a STORE's
    hand-over to its first read, and its last read to its end; end: last write response; decode: of
    an instruction, beyond a cycle for each word; start: start command to the first word of program
    at an empty memory; dram_latency: first beat of a FETCH; page: a PAGE's order to its first word
    in the program memory; table: a TABLE and the instruction behind it, beyond two cycles a word of
    entries and one of others, when nothing hides them; first_slot: an order to a CONV's first slot,
    beyond the words that are read; read_efficiency, write_efficiency: used share of the beats of
    the read ports and of the write port (the rest is refresh); read_limit: bytes per cycle that
    DRAM gives whatever the ports; weight_margin: words of the weight buffer that a replayed group
    leaves free.
    """

    slot_load: float = 1.0
    slot_round: float = 7.0
    param_load: float = 5.3
    param_place: int = 24
    head: float = 6.0
    array_latency: int = 20
    drain_tail: int = EXIT_LATENCY
    drain_ahead: int = -2
    wait_tail: int = 20
    instruction: int = 9
    vector_tail: int = 20
    vector_block: int = 4
    vector_shortest: int = 3
    load_word: float = 1.0
    load_idle: int = 4
    load_tail: int = 34
    store_latency: int = 6
    end: int = 35
    decode: int = 1
    start: int = 16
    page: int = 7
    table: int = 13
    first_slot: int = 10
    dram_latency: int = 60
    read_efficiency: float = 0.955
    write_efficiency: float = 0.97
    read_limit: float = 48.6
    weight_margin: int = 64

    def read_rate(self, params: EngineParams) -> float:
        """Stream bytes per cycle."""
        return min(params.ports * PORT_BITS // 8 * self.read_efficiency, self.read_limit)


DEFAULT_TIMING = Timing()
SUSTAINED = 51.2  # bytes per cycle that the DRAM model behind DEFAULT_TIMING gives, bursts apart


def board_timing(bytes_per_cycle: float) -> Timing:
    """Timing on a board whose ports and DRAM sustain `bytes_per_cycle`.

    Faster memories count as SUSTAINED: nothing faster was compared with the RTL.
    """
    share = min(1.0, round(bytes_per_cycle / SUSTAINED, 3))
    return replace(DEFAULT_TIMING, read_limit=round(DEFAULT_TIMING.read_limit * share, 2))


def record_words(params: EngineParams, granules: int) -> float:
    """Mean number of stream words that a record of so many granules touches."""
    return (granules - 1) / params.stream_granules + 1


def load_time(params: EngineParams, timing: Timing, granules: int) -> float:
    """Mean cycles of the loader for one weight slot, in a long row of slots of so many granules.

    It takes `slot_load` cycles beyond the stream words that a record touches. It may start on a
    slot when the array has switched to the slot two places before, so that two slots take at
    least `slot_round` cycles more than the words.
    """
    words = record_words(params, granules)
    return max(words + timing.slot_load, (words + timing.slot_round) / 2)


def slot_time(params: EngineParams, timing: Timing, granules: int, groups: int) -> float:
    """Mean cycles of one weight slot over `groups` pixel groups, in a long row of slots."""
    return max(groups, params.slot_minimum, load_time(params, timing, granules))


def param_time(
    params: EngineParams,
    timing: Timing,
    granules: int,
    slots: Sequence[tuple[int, int]],
    groups: int,
    head: float = 0.0,
) -> float:
    """Cycles that the array waits for the parameters (`granules`) of an output-channel group: those
    that the loader does not win back with its slots. slots: (number, granules of each); head:
    cycles that it waits for the group's head."""
    wait = record_words(params, granules) + timing.slot_load + head
    for count, size in slots:
        spare = max(groups, params.slot_minimum) - load_time(params, timing, size)
        wait -= count * max(0.0, spare)
    return max(0.0, wait)


def drain_time(
    params: EngineParams, lanes: int, groups: int, out16: bool, pool: bool = False
) -> int:
    """Cycles in which the exit path is busy with the results of one tile."""
    together = params.pool_pixels if pool else params.exit_pixels
    return groups * -(-min(params.pixels, lanes) // together) * (2 if out16 else 1)


def vector_time(timing: Timing, blocks: int, steps: int, first: int, per_step: int) -> int:
    """Cycles of a VECTOR from its start: so many planes, each of so many steps. first, per_step:
    reads in front of the first step, and from one to the next."""
    block = max(steps * per_step + max(first - per_step, 0), timing.vector_shortest)
    return blocks * (block + timing.vector_block) + timing.vector_tail


def drain_lead(params: EngineParams, timing: Timing) -> int:
    """How long before the end of a drain the next tile's last slot may begin: the exit path gives
    way whole pixel groups ahead, as far as their steps are safe."""
    steps = params.pixels // params.exit_pixels
    return timing.drain_ahead + SAFE_STEPS // steps * steps


def array_latency(params: EngineParams, timing: Timing) -> int:
    """First read of a slot to the first step of its drain."""
    return timing.array_latency + params.switch_lead


def drain_tail(params: EngineParams, timing: Timing) -> int:
    """Last step of a drain to its memory write."""
    return timing.drain_tail + params.lookup_latency


def tile_sizes(n_tiles: int, tile_groups: int, long_tiles: int) -> list[tuple[int, int]]:
    """(number of tiles, pixel groups per tile) of the long and the short tiles."""
    pairs = [(long_tiles, tile_groups), (n_tiles - long_tiles, tile_groups - 1)]
    return [(count, size) for count, size in pairs if count]


def group_cycles(
    params: EngineParams,
    timing: Timing,
    mode: int,
    lanes: int,
    slots: int,
    tile_split: tuple[int, int, int],
    out16: bool,
) -> int:
    """Steady-state cycles of one output-channel group over all tiles."""
    sizes = tile_sizes(*tile_split)
    granules = params.slot_granules(mode)
    head = params.param_granules(mode)
    total = param_time(params, timing, head, [(slots, granules)], sizes[0][1])
    for count, size in sizes:
        busy = slots * slot_time(params, timing, granules, size)
        # the last slot of a tile waits for the drain of the tile before it
        held = drain_time(params, lanes, size, out16) + array_latency(params, timing)
        held -= drain_lead(params, timing)
        total += count * max(busy, held)
    return round(total)
