"""Which weights of a dense convolution are work: what lies between groups is zero by nature."""

from __future__ import annotations

import math

import numpy as np


def weight_groups(weight: np.ndarray) -> int:
    """Largest number of convolution groups that a dense weight (F, C, kh, kw) falls into."""
    filters, channels = weight.shape[:2]
    used = weight.reshape(filters, channels, -1).any(2)
    if used.all():
        return 1
    common = math.gcd(filters, channels)
    for groups in (g for g in range(common, 1, -1) if common % g == 0):
        blocks = used.reshape(groups, filters // groups, groups, channels // groups)
        off = blocks.any((1, 3))
        if not (off & ~np.eye(groups, dtype=bool)).any():
            return groups
    return 1
