"""The end of a network that runs on the processor, in float32: a list of operators on the maps
that the engine returns. One implementation serves the board, the simulation and the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fpga_gen_host.host_kinds import KINDS

__all__ = ["KINDS", "HostOp", "Tail", "ancestors", "mask_threshold", "run_host_op", "run_host_ops"]


@dataclass(frozen=True)
class HostOp:
    """An operator of the end of a network. kind: a key of `KINDS`, which says what it does and
    which attributes (JSON-able) it takes.

    It reads the values `inputs`, each an output tensor of the engine or the target of an operator
    before it, and makes the value `target`. Without inputs it works on `target` itself.
    """

    kind: str
    target: str
    attributes: dict = field(default_factory=dict)
    onnx_name: str = ""
    inputs: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the values that it works on; a constant has none."""
        return self.inputs or (() if self.kind == "constant" else (self.target,))


class Tail(Protocol):
    """The end of a network: its output tensors, the operators on them, the model's outputs by
    name, and the value that each of those is (none given: the output tensor in its place)."""

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def output_names(self) -> tuple[str, ...]: ...

    @property
    def host_ops(self) -> tuple[HostOp, ...]: ...

    @property
    def results(self) -> tuple[str, ...]: ...


def ancestors(tail: Tail, value: str) -> tuple[HostOp, ...]:
    """The operators that a value of the tail depends on, in order."""
    needed, found = {value}, []
    for op in reversed(tail.host_ops):
        if op.target in needed:
            found.append(op)
            needed.update(op.reads)
    return tuple(found[::-1])


def mask_threshold(tail: Tail) -> float:
    """Above it a pixel of the first result is foreground: 0.5 for a probability, 0 for a logit."""
    ops = ancestors(tail, (tail.results or tail.outputs)[0])
    return 0.5 if any(op.kind == "sigmoid" for op in ops) else 0.0


def run_host_ops(tail: Tail, maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Model outputs by name, in their ONNX shapes, float32 (indices: int64).

    maps: at least every tensor of `tail.outputs`, real numbers (C, H, W).
    """
    values = {name: np.asarray(maps[name], np.float32)[None] for name in tail.outputs}
    for op in tail.host_ops:
        values[op.target] = run_host_op(op, *(values[name] for name in op.reads))
    results = tail.results or tail.outputs
    return {n: values[v] for n, v in zip(tail.output_names, results, strict=True)}


def run_host_op(op: HostOp, *values: np.ndarray) -> np.ndarray:
    """One operator on arrays that carry the batch axis (a map of the engine: (1, C, H, W)).

    Raises:
        ValueError: its kind or a mode is unknown.
    """
    if op.kind not in KINDS:
        raise ValueError(f"host operator '{op.kind}' is unknown")
    return KINDS[op.kind](op.attributes, *values)
