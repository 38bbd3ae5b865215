"""How many LUT sites the LUTs of a module take.

A six-input LUT of the devices is two five-input ones with common inputs (UG474, UG574): two LUTs
with at most five different inputs together share a site. One in front of a carry chain keeps its
site to itself here, because both outputs may be wanted there; so does one with six inputs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from fpga_gen.synth.cells import is_lut
from fpga_gen.synth.netlist import Cell

SHARED_INPUTS = 5
TRIED = 24  # neighbours on a net that are tried as partners


def shared_sites(cells: Iterable[Cell]) -> int:
    """Number of pairs of LUTs that share a site (found greedily: a lower bound)."""
    cells = list(cells)
    chained = {
        bit
        for cell in cells
        if cell.kind.startswith("CARRY")
        for pin in ("S", "DI")
        for bit in cell.pins[pin]
    }
    luts = [
        frozenset(b for pin, bits in c.pins.items() if pin != "O" for b in bits)
        for c in cells
        if is_lut(c.kind) and c.kind != "LUT6" and c.pins["O"][0] not in chained
    ]
    return _pair(luts)


def _pair(luts: list[frozenset]) -> int:
    """Pairs with the fewest inputs left over first: by a common net, then of any two."""
    order = sorted(range(len(luts)), key=lambda n: -len(luts[n]))
    on_net: dict[object, list[int]] = defaultdict(list)
    for n in order:
        for bit in luts[n]:
            on_net[bit].append(n)
    free = set(order)
    pairs = 0
    for n in order:
        if n not in free:
            continue
        free.discard(n)
        partner = _partner(n, luts, on_net, free)
        if partner is not None:
            free.discard(partner)
            pairs += 1
        else:
            free.add(n)
    return pairs + _loose_pairs([len(luts[n]) for n in free])


def _partner(n: int, luts: list[frozenset], on_net: dict, free: set[int]) -> int | None:
    best: tuple[int, int] | None = None
    for bit in luts[n]:
        waiting = on_net[bit]
        while waiting and waiting[0] not in free and waiting[0] != n:
            waiting.pop(0)
        for other in waiting[:TRIED]:
            if other in free and other != n:
                inputs = len(luts[n] | luts[other])
                if inputs <= SHARED_INPUTS and (best is None or inputs > best[0]):
                    best = (inputs, other)
    return None if best is None else best[1]


def _loose_pairs(sizes: list[int]) -> int:
    """Pairs without a common input: two and three, two and two, one and up to four."""
    left = {k: sum(s == k for s in sizes) for k in range(SHARED_INPUTS + 1)}
    pairs = 0
    for big, small in ((4, 1), (3, 2), (3, 1), (2, 1)):
        both = min(left[big], left[small])
        left[big] -= both
        left[small] -= both
        pairs += both
    return pairs + left[2] // 2 + left[1] // 2
