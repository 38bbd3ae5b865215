"""The choice of array modes: the mix with the fewest cycles, and its limits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fpga_gen.contract.isa import Op
from fpga_gen.contract.numerics import U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import run_schedule
from fpga_gen.schedule.lower.conv_plan import RUN_CYCLES, group_prices, mode_mix, tile_limits
from fpga_gen.schedule.lower.walk import Geometry
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES, Builder, Example, example

DEFAULT = EngineParams()


def _geometry(size: int) -> Geometry:
    return Geometry(size, size, size, size, (1, 1), (0, size))


def _brute_force(params: EngineParams, cost: dict[int, int], channels: int) -> int:
    """Fewest cycles over all counts of groups that cover the channels."""
    modes = sorted(cost)
    limits = [range(-(-channels // params.group_channels(m)) + 1) for m in modes]
    best = None
    for counts in itertools.product(*limits):
        total = sum(n * params.group_channels(m) for n, m in zip(counts, modes, strict=True))
        if total < channels:
            continue
        used = sum(n > 0 for n in counts)
        cycles = sum(n * cost[m] for n, m in zip(counts, modes, strict=True))
        cycles += (used - 1) * RUN_CYCLES
        best = cycles if best is None else min(best, cycles)
    assert best is not None
    return best


@pytest.mark.parametrize("params", [SMALL, THREE_MODES, DEFAULT], ids=["small", "three", "default"])
def test_mix_is_the_cheapest(params: EngineParams) -> None:
    rng = np.random.default_rng(0)
    mixed = 0
    for _ in range(60):
        size, channels = int(rng.integers(1, 60)), int(rng.integers(1, 200))
        slots = int(rng.integers(1, 60))
        wide, limit = bool(rng.integers(2)), int(rng.choice(tile_limits(params)))
        prices = group_prices(params, DEFAULT_TIMING, _geometry(size), wide, limit)
        cost = {m: c for m, p in prices.items() if (c := p(slots)) is not None}
        found = mode_mix(params, prices, channels, slots)
        if not cost:
            assert found is None
            continue
        assert found is not None
        groups, cycles = found
        assert cycles == _brute_force(params, cost, channels)
        assert sum(n * params.group_channels(m) for m, n in groups) >= channels
        assert all(n > 0 for _, n in groups)
        mixed += len(groups) > 1
    assert mixed >= 5


def test_34_channels_take_35_columns() -> None:
    """On 44x44 pixels one group of 21 and one of 14 beat one of 42 and three of 14."""
    prices = group_prices(DEFAULT, DEFAULT_TIMING, _geometry(44), False, 32)
    found = mode_mix(DEFAULT, prices, 34, 27)
    assert found is not None
    assert found[0] == ((2, 1), (3, 1))


def _mixed() -> Example:
    """13 channels on THREE_MODES: 9 + 6 columns; the next layer reads them at their bytes."""
    b = Builder("mixed", THREE_MODES)
    x = b.simple(b.input(9, 12, 12), 13, 3, U8)
    return b.example(b.simple(x, 32, 3, U8))


def test_mixed_layers_are_bit_exact() -> None:
    item = _mixed()
    cycles, modes = {}, {}
    for mix in (False, True):
        schedule = compile_schedule(item.graph, THREE_MODES, mix=mix)
        _, maps = run_schedule(schedule, item.stored_input, trace=True)
        assert compare_maps(item.graph, item.values, maps) is None
        convs = [i for i in schedule.instructions if i.op == Op.CONV]
        cycles[mix] = schedule.estimate.cycles
        modes[mix] = max(len({i.mode for i in convs if i.layer == c.layer}) for c in convs)
    assert modes == {False: 1, True: 2}
    assert cycles[True] < cycles[False]
    assert any(" + " in layer.mapping for layer in schedule.layers)


def test_grouped_convolutions_keep_one_mode() -> None:
    schedule = compile_schedule(example("depthwise", THREE_MODES).graph, THREE_MODES)
    modes = {i.mode for i in schedule.instructions if i.layer == "conv1"}
    assert len(modes) == 1


@pytest.mark.parametrize("params", [SMALL, THREE_MODES, DEFAULT], ids=["small", "three", "default"])
def test_depthwise_layers_read_one_plane_per_instruction(params: EngineParams) -> None:
    """Each CI channels are a run of their own: one block, and results for at most CI channels."""
    word = params.in_channels
    b = Builder("planes", params)
    x = b.local(b.input(5, 30, 30), 2 * word + 3, 1, U8)
    y = b.local(x, 2 * word + 3, 3, U8, groups=2 * word + 3)
    item = b.example(b.simple(y, 5, 1, U8))
    schedule = compile_schedule(item.graph, params)
    runs = [i for i in schedule.instructions if i.layer == "conv1"]
    assert sum(i.channels for i in runs) == 2 * word + 3
    for i in runs:
        assert (i.n_blocks, i.slots) == (1, 9)
        assert i.channels <= word
    if params is not DEFAULT:
        return
    assert [i.mode + 1 for i in runs] == [2, 2, 3]  # 21 columns for 16 channels, 14 for 3
    facts = next(f for f in schedule.layers if f.name == "conv1")
    groups = -(-900 // 16), -(-900 // 24)
    ideal = 9 * (2 * groups[0] + groups[1])
    assert ideal < facts.cycles < 1.25 * ideal


def test_depthwise_weights_are_not_padded_to_dense_blocks() -> None:
    """A layer of C channels takes C / CI slots per tap, not the square of that."""
    b = Builder("dw", DEFAULT)
    x = b.local(b.input(5, 14, 14), 160, 1, U8)
    b.local(x, 160, 3, U8, groups=160)
    schedule = compile_schedule(b.graph(), DEFAULT)
    facts = next(f for f in schedule.layers if f.name == "conv1")
    slot = DEFAULT.slot_granules(2) * 4
    assert facts.dram_bytes == 10 * (9 * slot + DEFAULT.param_granules(2) * 4)
