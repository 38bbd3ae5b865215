"""What a proof is, and how it is run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from formal import solve
from formal.bench import Bench
from formal.mutation import Mutation, constants


@dataclass(frozen=True)
class Proof:
    """Properties of one block.

    build: the bench, with properties and at least one cover.
    claims: what is shown, for docs/verification.md.
    depth: of the induction, or with `bounded` the number of cycles that are searched.
    cover_depth: cycles within which every cover point is reached.
    mutations: edits of the block, each of which the proof catches.
    parameters: constants of the hardware that are made small, by module and name.
    quick: part of the fast tests.
    """

    name: str
    block: str
    claims: str
    build: Callable[[], Bench]
    depth: int
    cover_depth: int
    mutations: tuple[Mutation, ...]
    bounded: bool = False
    parameters: Mapping[str, int] = field(default_factory=dict)
    quick: bool = True

    @property
    def kind(self) -> str:
        if self.bounded:
            return f"bounded, {self.depth} cycles"
        return f"k-induction, k = {self.depth}"

    def check(self) -> float:
        """Prove it; returns seconds.

        Raises:
            ProofFailed: a property does not hold or a cover point is not reached.
        """
        begun = time.monotonic()
        with self._model() as model:
            solve.base_case(model, self.depth)
            if not self.bounded:
                solve.induction(model, self.depth)
            solve.cover(model, self.cover_depth)
        return time.monotonic() - begun

    def catches(self, mutation: Mutation) -> bool:
        """Whether the mutated block breaks a property within reach of its initial state."""
        with self._model(mutation) as model:
            try:
                solve.base_case(model, max(self.depth, self.cover_depth))
            except solve.ProofFailed:
                return True
        return False

    @contextmanager
    def _model(self, mutation: Mutation | None = None) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            if mutation is not None:
                stack.enter_context(mutation.applied())
            stack.enter_context(constants(self.parameters))
            yield solve.model(self.build(), Path(name))
