"""What a proof is, and how it is run."""

from __future__ import annotations

import resource
import tempfile
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
            return f"bounded, {self.depth} cycles" if self.depth > 1 else "combinational"
        return f"k-induction, k = {self.depth}"

    def check(self) -> float:
        """Prove it; returns seconds of the processor that the tools took.

        Raises:
            ProofFailed: a property does not hold or a cover point is not reached.
        """
        begun = _child_seconds()
        with self._model() as model:
            solve.base_case(model, self.depth + (not self.bounded))
            if not self.bounded:
                solve.induction(model, self.depth)
            solve.cover(model, self.cover_depth)
        return _child_seconds() - begun

    def catches(self, mutation: Mutation) -> bool:
        """Whether the mutated block breaks a property within reach of its initial state."""
        with self._model(mutation) as model:
            try:
                solve.base_case(model, max(self.depth, self.cover_depth))
            except solve.ProofFailed as failure:
                if failure.counterexample:
                    return True
                raise
        return False

    @contextmanager
    def _model(self, mutation: Mutation | None = None) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            if mutation is not None:
                stack.enter_context(mutation.applied())
            stack.enter_context(constants(self.parameters))
            yield solve.model(self.build(), Path(name))


def _child_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
