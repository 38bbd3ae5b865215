"""Lives of maps in cycles: nothing overlaps, nothing is forgotten, and the peak is the plan's."""

from __future__ import annotations

from itertools import combinations

import pytest

from fpga_gen.contract.isa import Op
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.program import Schedule
from tests.engines import SMALL
from tests.schedule.graphs import example


@pytest.fixture(scope="module", params=["block", "links", "pool", "elementwise", "terms"])
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return compile_schedule(example(request.param, SMALL).graph, SMALL)


def test_no_two_lives_share_bytes_and_time(schedule: Schedule):
    for a, b in combinations(schedule.lives, 2):
        together = a.start < b.end and b.start < a.end
        apart = a.base + a.words <= b.base or b.base + b.words <= a.base
        assert not together or apart, f"{a} meets {b}"


def test_every_map_lives_somewhere(schedule: Schedule):
    named = {name.partition("@")[0] for life in schedule.lives for name in life.maps}
    assert named == {point.tensor for point in schedule.trace}
    for point in schedule.trace:
        span = schedule.timeline.spans[point.after]
        lives = [x for x in schedule.lives if point.tensor in x.maps]
        assert any(
            x.base <= point.placement.base < x.base + x.words
            and x.start <= span.start
            and span.end <= x.end
            for x in lives
        ), f"'{point.tensor}' is written where it does not live"


def test_peak_and_ends(schedule: Schedule):
    cycles = sorted({life.start for life in schedule.lives})
    live = [sum(x.words for x in schedule.lives if x.start <= c < x.end) for c in cycles]
    assert max(live) == schedule.memory.live_words
    assert max(x.base + x.words for x in schedule.lives) == schedule.memory.peak_words
    assert max(x.end for x in schedule.lives) == schedule.estimate.cycles
    assert min(x.start for x in schedule.lives) == 0
    assert len(schedule.timeline.spans) == len(schedule.instructions)
    load = [i.op for i in schedule.instructions].index(Op.LOAD)
    first = next(x for x in schedule.lives if schedule.host_input.map.tensor in x.maps)
    assert first.start <= schedule.timeline.spans[load].start
