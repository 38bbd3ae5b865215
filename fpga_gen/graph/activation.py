"""What a node does to its sums before they become its output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Activation:
    """y = min(max(x, lo), hi). ReLU is Activation(0), none is Activation()."""

    lo: float = -math.inf
    hi: float = math.inf

    @property
    def is_identity(self) -> bool:
        return self == Activation()

    @property
    def non_negative(self) -> bool:
        """No output is below 0, whatever the input."""
        return self.lo >= 0

    @property
    def bound(self) -> float:
        """Largest |y| that it lets through, infinite if it bounds nothing."""
        return max(abs(self.lo), abs(self.hi))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """y of float32 values."""
        return x if self.is_identity else np.clip(x, np.float32(self.lo), np.float32(self.hi))

    def pull_back(self, grad: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient of x, from that of the output and the output itself."""
        return grad if self.is_identity else grad * ((y > self.lo) & (y < self.hi))

    def then(self, other: Activation) -> Activation:
        """This one followed by another."""
        return Activation(
            min(max(self.lo, other.lo), other.hi),
            min(max(self.hi, other.lo), other.hi),
        )

    def describe(self) -> str:
        """Stable text: 'relu', 'clip[0,6]', '' for none."""
        if self.is_identity:
            return ""
        return "relu" if self == Activation(0.0) else f"clip[{self.lo:g},{self.hi:g}]"
