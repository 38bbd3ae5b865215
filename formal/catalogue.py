"""All proofs, the longest last."""

from formal import (
    addresses,
    bursts,
    control,
    csr,
    program,
    queues,
    read_port,
    ring,
    runs,
    write_port,
)

PROOFS = tuple(
    proof
    for module in (
        queues, ring, addresses, control, program, runs, csr, bursts, read_port, write_port,
    )
    for proof in module.PROOFS
)  # fmt: skip
