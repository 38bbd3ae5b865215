"""Trees of equal registers, so that no net drives more than about 64 loads.

Tools merge registers of equal content; `keep` holds the copies apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value, signed

LOADS = 64  # a copy should not drive more
KEEP = {"keep": "true"}


def copies(
    m: Module, value: Value, count: int, name: str, *, reset_less: bool = True
) -> list[Signal]:
    """`count` registers of `value`, one cycle late."""
    shape = signed(len(value)) if value.shape().signed else len(value)
    out = [
        Signal(shape, name=f"{name}_copy{n}", reset_less=reset_less, attrs=KEEP)
        for n in range(count)
    ]
    m.d.sync += [copy.eq(value) for copy in out]
    return out


def tree(
    m: Module,
    value: Value,
    counts: Sequence[int],
    name: str,
    *,
    reset_less: bool = True,
) -> list[Signal]:
    """`value` late by len(counts) cycles, in counts[-1] copies; counts[i] registers at level i.

    Copy n of one level is driven by copy n * counts[i-1] // counts[i] of the level before.
    """
    level: list[Value] = [value]
    for depth, count in enumerate(counts):
        fed = [
            copies(m, level[n * len(level) // count], 1, f"{name}_{depth}_{n}",
                   reset_less=reset_less)[0]
            for n in range(count)
        ]  # fmt: skip
        level = list(fed)
    return level


def copies_for(loads: int, per_copy: int = LOADS) -> int:
    """Number of copies that `loads` loads need."""
    return max(1, -(-loads // per_copy))
