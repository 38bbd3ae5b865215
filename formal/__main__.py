"""`make formal`: every proof, and that it catches its mutations. Names limit it to some."""

from __future__ import annotations

import sys
import time

from formal.catalogue import PROOFS
from formal.solve import SOLVER, ProofFailed


def main(names: list[str]) -> int:
    unknown = set(names) - {proof.name for proof in PROOFS}
    if unknown:
        print(f"no proof is called {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    open_proofs = 0
    for proof in PROOFS:
        if names and proof.name not in names:
            continue
        try:
            seconds = proof.check()
            told = f"proved in {seconds:.1f} s"
        except ProofFailed as failure:
            open_proofs += 1
            told = f"NOT PROVED: {failure}"
        begun = time.monotonic()
        missed = [mutation.old for mutation in proof.mutations if not proof.catches(mutation)]
        open_proofs += len(missed)
        caught = f"{len(proof.mutations) - len(missed)} of {len(proof.mutations)} mutations caught"
        print(f"{proof.name:20} {proof.kind:24} {told}; {caught} in "
              f"{time.monotonic() - begun:.0f} s", flush=True)  # fmt: skip
        for old in missed:
            print(f"    not caught: {old}")
    print(f"{open_proofs} open, solver {SOLVER}")
    return 1 if open_proofs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
