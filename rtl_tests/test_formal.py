"""Proofs of the hardware (folder formal): they hold, and each catches its mutations."""

from __future__ import annotations

import pytest

from formal.catalogue import PROOFS
from formal.mutation import Mutation
from formal.proof import Proof

ALL = [
    pytest.param(proof, id=proof.name, marks=() if proof.quick else pytest.mark.slow)
    for proof in PROOFS
]
MUTATIONS = [
    pytest.param(proof, mutation, id=f"{proof.name}-{n}",
                 marks=() if proof.quick else pytest.mark.slow)
    for proof in PROOFS
    for n, mutation in enumerate(proof.mutations)
]  # fmt: skip


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("proof", ALL)
def test_it_is_proved(proof: Proof) -> None:
    proof.check()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("proof", "mutation"), MUTATIONS)
def test_a_mutation_is_caught(proof: Proof, mutation: Mutation) -> None:
    assert proof.catches(mutation)


def test_every_proof_has_a_mutation() -> None:
    assert all(proof.mutations for proof in PROOFS)
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)
