"""The allocator of the virtual board's memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpga_gen.board import memory as module
from fpga_gen.board.memory import ALIGNMENT, BoardMemory
from fpga_gen.errors import BoardError

SIZE, BASE = 16 * ALIGNMENT, 0x1000_0000


@given(st.lists(st.tuples(st.booleans(), st.integers(1, SIZE)), max_size=60))
@settings(max_examples=80, deadline=None)
def test_buffers_stay_inside_and_apart(steps: list[tuple[bool, int]]):
    memory = BoardMemory(BASE, np.full(SIZE, 255, np.uint8))
    live: dict[str, tuple[int, int, int]] = {}
    for number, (take, value) in enumerate(steps):
        if take or not live:
            try:
                buffer = memory.allocate(value, "me")
            except BoardError:
                gaps = free_gaps(live)
                assert max(gaps) < value, "there was room"
                continue
            assert not buffer.array.any()
            buffer.array[:] = number % 251 + 1
            live[buffer.name] = (buffer.address, value, number % 251 + 1)
        else:
            name = sorted(live)[value % len(live)]
            memory.free(name)
            del live[name]
        for name, (address, size, filling) in live.items():
            assert address % ALIGNMENT == 0
            assert BASE <= address
            assert address + size <= BASE + SIZE
            assert (memory.find(name).array == filling).all()
    assert memory.used == sum(-(-s // ALIGNMENT) * ALIGNMENT for _, s, _ in live.values())


def free_gaps(live: dict[str, tuple[int, int, int]]) -> list[int]:
    gaps, start = [0], BASE
    for address, size, _ in sorted(live.values()):
        gaps.append(address - start)
        start = address + -(-size // ALIGNMENT) * ALIGNMENT
    return [*gaps, BASE + SIZE - start]


@pytest.mark.parametrize("size", [0, -1, SIZE + 1, 1 << 62])
def test_impossible_sizes(size: int):
    memory = BoardMemory(BASE, np.zeros(SIZE, np.uint8))
    with pytest.raises(BoardError, match="cannot allocate"):
        memory.allocate(size, "me")
    assert memory.used == 0


def test_freed_buffers_are_gone():
    memory = BoardMemory(BASE, np.zeros(SIZE, np.uint8))
    name = memory.allocate(10, "me").name
    memory.free(name)
    for use in (memory.free, memory.find):
        with pytest.raises(BoardError, match=f"no buffer '{name}'"):
            use(name)


def test_what_others_left_behind(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_BUFFERS", 3)
    memory = BoardMemory(BASE, np.zeros(SIZE, np.uint8))
    mine = memory.allocate(5, "me")
    for _ in range(2):
        memory.allocate(5, "other")
    with pytest.raises(BoardError, match="3 buffers are allocated already"):
        memory.allocate(5, "me")
    assert memory.free_others("me") == 2
    assert memory.find(mine.name) is mine
    assert memory.used == ALIGNMENT
