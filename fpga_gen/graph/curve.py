"""Functions of one real variable that an activation can have, as expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

SLACK = 1e-3  # by which an extreme between two of the points may be missed, relative
UNBOUNDED = 1e3  # values beyond grow without end


def _erf(x: np.ndarray) -> np.ndarray:
    """Within 1.5e-7 (Abramowitz and Stegun 7.1.26)."""
    size = np.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    terms = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    return np.sign(x) * (1 - reduce(lambda s, c: (s + c) * t, terms, 0.0) * np.exp(-size * size))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "abs": np.abs,
    "add": lambda *parts: reduce(np.add, parts),
    "affine": lambda x, scale, offset: scale * x + offset,
    "celu": lambda x, alpha: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha),
    "clip": np.clip,
    "elu": _elu,
    "erf": _erf,
    "exp": np.exp,
    "leaky": lambda x, slope: np.where(x < 0, slope * x, x),
    "levels": lambda x, scale, lo, hi: scale * np.clip(np.rint(x / scale), lo, hi),
    "mul": lambda *parts: reduce(np.multiply, parts),
    "power": lambda x, exponent: np.power(x, exponent),
    "reciprocal": lambda x: 1 / x,
    "root": lambda x: np.sqrt(np.maximum(x, 0)),
    "selu": lambda x, alpha, gamma: gamma * _elu(x, alpha),
    "sigmoid": _sigmoid,
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh,
    "threshold": lambda x, alpha: np.where(x > alpha, x, 0),
}


@dataclass(frozen=True)
class Curve:
    """function(*operands, *numbers) of FUNCTIONS; `X` is the variable itself."""

    function: str = ""
    operands: tuple[Curve, ...] = ()
    numbers: tuple[float, ...] = ()

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Values of float64 arguments."""
        if self == X:
            return x
        parts = [operand.apply(x) for operand in self.operands]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return FUNCTIONS[self.function](*parts, *self.numbers)

    def innermost(self, function: str) -> Curve | None:
        """The one call of a function through which every path to x goes; None if there is none."""
        if self.function == function and self.operands == (X,):
            return self
        found = {part.innermost(function) for part in self.operands}
        return found.pop() if len(found) == 1 else None

    def after(self, inner: Curve) -> Curve:
        """self(inner(x))."""
        if self == X:
            return inner
        operands = tuple(o.after(inner) for o in self.operands)
        if self.function == "levels" and operands[0].function == "clip":
            scale, lo, hi = self.numbers
            least, most = np.rint(np.array(operands[0].numbers) / scale)
            if least <= lo and most >= hi:  # the levels end where the clip does
                operands = operands[0].operands
        return Curve(self.function, operands, self.numbers)

    def describe(self) -> str:
        """Stable text, such as 'mul(x,sigmoid(x))'."""
        if self == X:
            return "x"
        parts = [o.describe() for o in self.operands] + [f"{n:g}" for n in self.numbers]
        return f"{self.function}({','.join(parts)})"

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Bounds of its values; infinite where there are none, or it is not finite."""
        y = self.apply(POINTS)
        if not np.isfinite(y).all():
            return -np.inf, np.inf
        lo, hi = float(y.min()), float(y.max())
        if lo not in (y[0], y[-1]):  # an extreme between two points
            lo -= SLACK * abs(lo)
        if hi not in (y[0], y[-1]):
            hi += SLACK * abs(hi)
        return (lo if lo > -UNBOUNDED else -np.inf), (hi if hi < UNBOUNDED else np.inf)

    @cached_property
    def rises(self) -> bool:
        """It never falls, as far as float32 can tell."""
        y = self.apply(POINTS)
        return bool(np.isfinite(y).all() and (np.diff(y) >= -1e-7 * np.abs(y[1:])).all())


X = Curve()
_FAR = np.geomspace(20, 1e5, 200)
POINTS = np.concatenate([-_FAR[::-1], np.linspace(-20, 20, 8001), _FAR])


def call(function: str, *numbers: float) -> Curve:
    """function(x, *numbers)."""
    return Curve(function, (X,), tuple(float(n) for n in numbers))


def combined(function: str, parts: Iterable[Curve]) -> Curve:
    """Sum or product of functions of one variable."""
    return Curve(function, tuple(parts))
