"""LaneMasks against coordinates computed from the definition, in flat and row mode."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from fpga_gen.contract.isa import Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.walk.lane_masks import LaneMasks
from rtl_tests.word_memory import header
from tests.engines import SMALL

THREE = EngineParams(
    pixels=4,
    in_channels=4,
    dsp_columns=12,
    sp2_columns=6,
    tile_groups=16,
    bank_rows=64,
    ports=1,
    weight_words=64,
)


@pytest.mark.parametrize("params", [SMALL, THREE], ids=["4 lanes", "12 lanes"])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 11])
@pytest.mark.parametrize("row_mode", [0, 1])
def test_masks(params, width, row_mode):
    rng = np.random.default_rng(width)
    height, lanes = 7, params.lanes
    stride_y, stride_x = (2, 2) if row_mode else (1, 1)
    dut = LaneMasks(params)
    groups_per_row = -(-width // (lanes * stride_x))
    groups = 9 if row_mode else -(-width * height // lanes)

    def position(group):
        """(y, x) of every lane of a group, from the definition in isa.py."""
        lane = np.arange(lanes)
        if row_mode:
            row, column = divmod(group, groups_per_row)
            return np.full(lanes, row * stride_y), (column * lanes + lane) * stride_x
        return (group * lanes + lane) // width, (group * lanes + lane) % width

    async def start(ctx, in_w, cycles):
        """Start a walk over a map `in_w` wide; its coordinates take so many cycles."""
        ctx.set(dut.issue.header, header(Op.CONV, **{**fields, "in_w": in_w}))
        ctx.set(dut.issue.start, 1)
        await ctx.tick()
        ctx.set(dut.issue.start, 0)
        await ctx.tick()  # whether they are known
        for _ in range(cycles):
            assert not ctx.get(dut.motion.ready)
            await ctx.tick()
        assert ctx.get(dut.motion.ready)

    fields = {
        "row_mode": row_mode,
        "in_h": height,
        "stride_x": stride_x,
        "stride_y": stride_y,
        "step_dy": 0 if row_mode else lanes // width,
        "step_dx": lanes * stride_x if row_mode else lanes % width,
    }

    async def bench(ctx):
        await start(ctx, width + 1, lanes)
        await start(ctx, width, lanes)  # another width: anew
        await start(ctx, width, 0)
        tile_start, group, expected = 0, 0, []
        for step in range(60):
            dy, dx = (int(v) for v in rng.integers(-3, 4, 2))
            y, x = position(group)
            inside = (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
            expected.append(sum(1 << i for i in range(lanes) if inside[i]))
            ctx.set(dut.motion.dy, dy)
            ctx.set(dut.motion.dx, dx)
            row_end = row_mode and group % groups_per_row == groups_per_row - 1
            ctx.set(dut.motion.row_end, int(row_end))
            action = rng.choice(["advance", "advance", "restore", "commit", "idle"])
            if group + 1 >= groups:
                action = "reinit"
            if action in ("advance", "commit"):
                group += 1
            if action == "commit":
                tile_start = group
            if action == "restore":
                group = tile_start
            if action == "reinit":
                group = tile_start = 0
            for name in ("advance", "restore", "commit", "reinit"):
                ctx.set(getattr(dut.motion, name), int(action == name))
            await ctx.tick()
            if step >= dut.mask_latency - 1:
                assert ctx.get(dut.mask) == expected[step - dut.mask_latency + 1]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run_until(1e-2)
