"""SlotAssembly against the granules of random records, their words at any pace."""

from __future__ import annotations

import numpy as np
import pytest

from fpga_gen.contract.params import GRANULE, EngineParams
from fpga_gen.contract.slot_layout import Half, slot_run
from fpga_gen.hardware.loader.joints import wrap_bits
from fpga_gen.hardware.loader.slot_assembly import SlotAssembly
from rtl_tests.bench import simulate
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES

WIDE = EngineParams(
    pixels=4, in_channels=4, dsp_columns=12, sp2_columns=6, tile_groups=16, bank_rows=64, ports=2,
    weight_words=64,
)  # fmt: skip
WORD_LATENCY = 2  # from `read` to its word


def words_of(granules: np.ndarray, at: int, per_word: int, rng: np.random.Generator) -> list[int]:
    """Stream words that hold the granules from granule `at` of the first word on; noise around."""
    count = -(-(at + len(granules)) // per_word)
    stream = rng.integers(0, 1 << GRANULE, count * per_word)
    stream[at : at + len(granules)] = granules
    return [
        sum(int(g) << GRANULE * k for k, g in enumerate(word))
        for word in stream.reshape(count, per_word)
    ]


@pytest.mark.parametrize("gap", [0.0, 0.4])
@pytest.mark.parametrize("params", [SMALL, THREE_MODES, WIDE], ids=["small", "three", "wide"])
def test_records(params: EngineParams, gap: float) -> None:
    rng = np.random.default_rng(int(10 * gap) + params.ports)
    dut = SlotAssembly(params)
    per_word = params.stream_granules
    cycles: list[tuple[dict, int]] = []  # (read, word two cycles later); noise where not valid
    want: list[tuple] = []  # (is_param, first granule, granules, clear, wrap)

    def noise() -> dict:
        return {
            name: 0 if name == "valid" else int(rng.integers(1 << field.width))
            for name, field in dut.read.shape()
        }

    for _ in range(60):
        is_param = bool(rng.random() < 0.3)
        subgroups = int(rng.integers(1, params.subgroups + 1))
        half = Half(int(rng.integers(3)))
        run = slot_run(params, subgroups, half)
        first, length = run.first, run.granules
        if is_param:
            first, length = 0, params.some_param_granules(subgroups)
        granules = rng.integers(0, 1 << GRANULE, length)
        at = int(rng.integers(per_word))
        row = first // per_word + (at < first % per_word)
        offset = (at - first) % per_word
        clear, wrap = int(rng.integers(4)), int(rng.integers(1 << wrap_bits(params)))
        words = words_of(granules, at, per_word, rng)
        for index, word in enumerate(words):
            while rng.random() < gap:
                cycles.append((noise(), 0))
            last = int(index == len(words) - 1)
            tags = {"valid": 1, "row": row + index, "offset": offset, "end": last,
                    "is_param": int(is_param), "clear": clear, "wrap": wrap}  # fmt: skip
            cycles.append((tags, word))
        cycles.append((noise(), 0))  # a record takes a cycle more than its words
        want.append((is_param, first, granules, clear, wrap))
    cycles += [(noise(), 0)] * 8
    seen = 0

    async def drive(ctx) -> None:
        for n, (tags, _) in enumerate(cycles):
            tags = {**tags, "row": tags["row"] % (1 << dut.read.shape()["row"].width)}
            ctx.set(dut.read, tags)
            if n >= WORD_LATENCY:
                ctx.set(dut.word, cycles[n - WORD_LATENCY][1])
            await ctx.tick()

    async def check(ctx) -> None:
        nonlocal seen
        complete = False  # in the cycle before
        while True:
            push = ctx.get(dut.param_push)
            assert not (push and complete)
            if push or complete:
                is_param, first, granules, clear, wrap = want[seen]
                assert bool(push) == is_param
                record = ctx.get(dut.slot.record) >> GRANULE * first
                got = [record >> GRANULE * k & (1 << GRANULE) - 1 for k in range(len(granules))]
                assert got == granules.tolist(), f"record {seen}"
                if not is_param:
                    assert (ctx.get(dut.slot.clear), ctx.get(dut.slot.wrap)) == (clear, wrap)
                seen += 1
            complete = bool(ctx.get(dut.slot.complete))
            await ctx.tick()

    simulate(dut, drive, background=[check])
    assert seen == len(want)
