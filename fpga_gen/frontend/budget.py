"""What the constants of one model may take: a few bytes of ONNX can ask for any amount."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fpga_gen.frontend.problems import Refused

MAX_ELEMENTS = 1 << 27  # of one tensor: more than any layer of a network for vision has
MADE_BYTES = 1 << 29  # of all constants that folding makes, beside some multiples of the file's
MADE_RATIO = 8  # as int8 weights that become float32, with a step or two in between
WORK = 1 << 31  # elements read and written, and multiply-accumulates, of all folding
MAX_WEIGHTS = 1 << 28  # of all convolutions
MAX_DENSE_WEIGHTS = 1 << 29  # the same with the zeros between groups, bytes of the int8 network

AGAIN = "export the model again"


@dataclass
class Budget:
    """What is left of the limits above; every method raises Refused when one is passed."""

    bytes: int = MADE_BYTES
    work: int = WORK
    weights: int = MAX_WEIGHTS
    dense: int = MAX_DENSE_WEIGHTS

    @classmethod
    def beside(cls, file_bytes: int) -> Budget:
        """Budget of a model that brings so many bytes of constants."""
        return cls(bytes=MADE_BYTES + MADE_RATIO * file_bytes, work=WORK + MADE_RATIO * file_bytes)

    def make(self, shape: Sequence[int], item_bytes: int) -> None:
        """A constant of this shape is made."""
        elements = math.prod(shape)
        if elements > MAX_ELEMENTS:
            raise Refused(f"makes a constant of {elements} elements", AGAIN)
        self.bytes -= elements * item_bytes
        if self.bytes < 0:
            raise Refused("makes more constants than a network needs", AGAIN)

    def compute(self, work: int) -> None:
        """So many elements or multiply-accumulates are computed."""
        self.work -= work
        if self.work < 0:
            raise Refused("computes more on constants than a network needs", AGAIN)

    def weigh(self, weights: int, dense: int) -> None:
        """A convolution gets so many weights; dense: with the zeros between its groups."""
        self.weights -= weights
        self.dense -= dense
        if min(self.weights, self.dense) < 0:
            raise Refused(
                f"its {dense} weights are too many, with those of the layers before it",
                "use a smaller network",
            )
