"""Where the bits of a weight slot lie in the stream and in the loader's assembly register.

A slot is CI inputs x some column subgroups. In the assembly the low inputs of the subgroups lie
below a centre and the high inputs above it, subgroup 0 next to the centre:

    | S-1 low | ... | 1 low | 0 low | 0 high | 1 high | ... | S-1 high |

Whatever the number of subgroups, and whether both halves of the inputs are wanted or one, a slot is
one run of granules with a fixed place: fewer subgroups (a wider mode, or the last output channels
of a layer) are a shorter run about the centre, one half of the inputs ends or begins there. The
stream carries the run alone. The half that is not sent counts as zero.

Runs begin at whole granules. Where a full slot would need a granule more at its end than its bits
fill, its last bits take the free ones at its beginning (`Run.wrapped`).
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from enum import IntEnum
from functools import cache

import numpy as np

from fpga_gen.contract.params import GRANULE, EngineParams


class Half(IntEnum):
    """The inputs that a slot carries."""

    BOTH = 0
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Run:
    """A slot in the assembly. first: its first granule there; granules: its length; wrapped: bits
    of the last subgroup's end that lie at the beginning of the run."""

    first: int
    granules: int
    wrapped: int


def lane_bits(params: EngineParams) -> int:
    """Bits of one input of one subgroup."""
    return params.sub_weight_bits // params.in_channels


def half_bits(params: EngineParams) -> int:
    """Bits of one half of the inputs of one subgroup."""
    return lane_bits(params) * (params.in_channels // 2)


def centre(params: EngineParams) -> int:
    """Bit of the assembly at which the high halves begin."""
    return params.subgroups * half_bits(params)


@cache
def slot_run(params: EngineParams, subgroups: int, half: Half = Half.BOTH) -> Run:
    """The run of a slot of `subgroups` column subgroups."""
    assert 1 <= subgroups <= params.subgroups
    middle, side = centre(params), subgroups * half_bits(params)
    first = (middle - side) // GRANULE
    if half == Half.LOW:
        return Run(first, -(-middle // GRANULE) - first, 0)
    if half == Half.HIGH:
        first = middle // GRANULE
        return Run(first, -(-(middle + side) // GRANULE) - first, 0)
    granules = -(-2 * side // GRANULE)
    wrapped = max(0, middle + side - (first + granules) * GRANULE)
    assert wrapped <= half_bits(params)
    return Run(first, granules, wrapped)


def low_bit(params: EngineParams, subgroup: int) -> int:
    """Bit of the assembly at which the low half of a subgroup begins."""
    return centre(params) - (subgroup + 1) * half_bits(params)


def high_bit(params: EngineParams, subgroup: int) -> int:
    """Bit of the assembly at which the high half of a subgroup begins."""
    return centre(params) + subgroup * half_bits(params)


@cache
def run_bits(params: EngineParams, subgroups: int, half: Half) -> np.ndarray:
    """Bit of the run, int (subgroups, CI, lane bits), of every weight bit; -1: it is not sent."""
    run, size = slot_run(params, subgroups, half), half_bits(params)
    out = np.full((subgroups, 2, size), -1)
    for s in range(subgroups):
        if half != Half.HIGH:
            out[s, 0] = low_bit(params, s) + np.arange(size)
        if half != Half.LOW:
            out[s, 1] = high_bit(params, s) + np.arange(size)
    if run.wrapped:
        out[-1, 1, size - run.wrapped :] = run.first * GRANULE + np.arange(run.wrapped)
    out[out >= 0] -= run.first * GRANULE
    return out.reshape(subgroups, params.in_channels, -1)


def describe(params: EngineParams) -> dict:
    """The run of every kind of slot, JSON-able: first granule, granules, wrapped bits, and a digest
    of the place of every bit."""
    return {
        f"{subgroups} subgroups, {half.name}": [
            *astuple(slot_run(params, subgroups, half)),
            hashlib.sha256(run_bits(params, subgroups, half).astype("<i4").tobytes()).hexdigest(),
        ]
        for subgroups in range(1, params.subgroups + 1)
        for half in Half
    }
