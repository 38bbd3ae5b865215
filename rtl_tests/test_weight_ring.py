"""WeightRing against a list of words: order, seeks back, nothing read early or overwritten."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.loader.joints import available, pointer_bits
from fpga_gen.hardware.loader.weight_ring import MARGIN, WeightRing, ring_shapes
from rtl_tests.bench import send, simulate
from tests.engines import SMALL

NARROW = replace(SMALL, weight_words=16)
WIDE = EngineParams(weight_words=16)  # a ring of several slices
WORDS = 150
READ_LATENCY = 2  # from `advance` to the word


@pytest.mark.parametrize("gap", [0.0, 0.6])
@pytest.mark.parametrize("pace", [1.0, 0.4])
@pytest.mark.parametrize("params", [NARROW, WIDE], ids=["one slice", "slices"])
def test_words_in_any_order(params: EngineParams, pace: float, gap: float) -> None:
    """Reads run on, go back to what is still kept, and free what they are done with."""
    rng = random.Random(f"{params.ports} {pace} {gap}")
    dut = WeightRing(params, expand=True)
    assert (len(ring_shapes(params)) > 1) == (params is WIDE)
    depth, per_word = params.weight_words, params.stream_granules
    mask = (1 << pointer_bits(params)) - 1
    words = [rng.getrandbits(params.stream_bits) for _ in range(WORDS)]
    taken: deque[int | None] = deque([None] * READ_LATENCY)  # indices of words on their way
    written = at = free = highest = checked = fullest = 0

    async def count(ctx) -> None:
        nonlocal written, fullest
        while True:
            *_, valid, ready = await ctx.tick().sample(dut.words.valid, dut.words.ready)
            written += valid and ready
            fullest = max(fullest, written - free)
            assert written - free <= depth, "a word that is still kept was overwritten"

    async def feed(ctx) -> None:
        await send(ctx, dut.words, words, rng, gap)

    async def read(ctx) -> None:
        nonlocal at, free, highest, checked
        ring = dut.read
        while at < WORDS or any(index is not None for index in taken):
            move = rng.random()
            seek = align = advance = 0
            target = at
            if move < 0.1:  # to any word that is kept, or behind the last one read
                target, seek = rng.randint(free, at), 1
                granule = 0 if target == at else rng.randrange(per_word)
                ctx.set(ring.position, (target * per_word + granule) % ((mask + 1) * per_word))
            elif move < 0.15 and at:
                granule = rng.randrange(1 - per_word, 1)
                align = 1
                ctx.set(ring.position, (at * per_word + granule) % ((mask + 1) * per_word))
            elif ctx.get(available(ring)) and rng.random() < pace:
                assert at < written, "a word was offered before it was there"
                advance, target = 1, at + 1
            assert ctx.get(ring.read_pointer) == at & mask
            for port, value in ((ring.seek, seek), (ring.align, align), (ring.advance, advance)):
                ctx.set(port, value)
            taken.append(at if advance else None)
            expected = taken.popleft()
            if expected is not None:
                assert ctx.get(dut.word) == words[expected]
                checked += 1
            at = target
            highest = max(highest, at)
            await ctx.tick()
            if rng.random() < 0.3:
                free = rng.randint(free, at)
                ctx.set(ring.free_pointer, free & mask)
        assert not ctx.get(available(ring))

    simulate(dut, read, background=[count, feed])
    assert checked >= WORDS
    assert written == highest == WORDS
    assert fullest >= depth - MARGIN or pace == 1.0
