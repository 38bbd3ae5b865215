"""What a node does to its sums before they become its output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fpga_gen.graph.curve import Curve, X, call

STEP = 1e-3  # of a derivative


@dataclass(frozen=True)
class Activation:
    """y = min(max(curve(x), lo), hi). ReLU is Activation(0), none is Activation()."""

    lo: float = -math.inf
    hi: float = math.inf
    curve: Curve = X

    @staticmethod
    def of(curve: Curve) -> Activation:
        """A function, with the bounds that it has."""
        return Activation(*curve.bounds, curve)

    @property
    def is_identity(self) -> bool:
        return self == Activation()

    @property
    def is_clip(self) -> bool:
        """It does nothing but bound."""
        return self.curve == X

    @property
    def rises(self) -> bool:
        """A larger x never has a smaller y."""
        return self.is_clip or self.curve.rises

    @property
    def non_negative(self) -> bool:
        """No output is below 0, whatever the input."""
        return self.lo >= 0

    @property
    def bound(self) -> float:
        """Largest |y| that it lets through, infinite if it bounds nothing."""
        return max(abs(self.lo), abs(self.hi))

    @property
    def whole(self) -> Curve:
        """The function with its bounds."""
        if (self.lo, self.hi) == self.curve.bounds:
            return self.curve
        return call("clip", self.lo, self.hi).after(self.curve)

    def apply(self, x: np.ndarray) -> np.ndarray:
        """y of float32 values."""
        if self.is_identity:
            return x
        if not self.is_clip:
            x = self.curve.apply(x.astype(np.float64)).astype(np.float32)
        return np.clip(x, np.float32(self.lo), np.float32(self.hi))

    def pull_back(self, grad: np.ndarray, y: np.ndarray, x: np.ndarray | None) -> np.ndarray:
        """Gradient of x, from that of the output and the output itself; x: needed by a curve."""
        if self.is_identity:
            return grad
        if self.is_clip:
            return grad * ((y > self.lo) & (y < self.hi))
        assert x is not None
        x = x.astype(np.float64)
        rise = self.whole.apply(x + STEP) - self.whole.apply(x - STEP)
        return grad * (rise / (2 * STEP)).astype(np.float32)

    def then(self, other: Activation) -> Activation:
        """This one followed by another."""
        if not other.is_clip:
            found = Activation.of(other.curve.after(self.whole))
            return found.then(Activation(other.lo, other.hi))
        return Activation(
            min(max(self.lo, other.lo), other.hi),
            min(max(self.hi, other.lo), other.hi),
            self.curve,
        )

    def describe(self) -> str:
        """Stable text: 'relu', 'clip[0,6]', 'sigmoid(x)', '' for none."""
        if not self.is_clip:
            own = Activation.of(self.curve)
            clip = Activation(self.lo, self.hi)
            return self.curve.describe() + ("" if self == own else f" {clip.describe()}")
        if self.is_identity:
            return ""
        return "relu" if self == Activation(0.0) else f"clip[{self.lo:g},{self.hi:g}]"
