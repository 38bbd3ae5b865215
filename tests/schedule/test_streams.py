"""The weight stream of the cycle model: slots in one loop as one by one."""

import numpy as np
import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.schedule.cycles.streams import StreamClock
from fpga_gen.schedule.cycles.timing import DEFAULT_TIMING


@pytest.mark.parametrize("release", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_run_is_take_and_free_for_every_slot(seed: int, release: bool) -> None:
    rng = np.random.default_rng(seed)
    params = EngineParams(weight_words=64)
    whole, single = (StreamClock(params, DEFAULT_TIMING, 100.0) for _ in range(2))
    now = other = 120.0
    stalled = waited = 0.0
    for _ in range(30):
        kinds = [(int(n), int(g), float(c)) for n, g, c in rng.integers(1, (40, 90, 8), (3, 3))]
        now, stalled = whole.run(kinds, now, stalled, release)
        for count, granules, cycles in kinds:
            for _ in range(count):
                ready = single.take(granules)
                waited += max(0.0, ready - other)
                other = max(other, ready)
                if release:
                    single.free(other)
                other += cycles
        assert (now, stalled, whole.position) == (other, waited, single.position)
        whole.free(now)
        single.free(other)
    assert stalled > 0
