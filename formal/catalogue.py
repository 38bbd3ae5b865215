"""All proofs, the longest last."""

from formal import (
    addresses,
    bursts,
    control,
    csr,
    queues,
    read_port,
    ring,
    runs,
    shell,
    write_port,
)

PROOFS = tuple(
    proof
    for module in (
        queues, ring, addresses, control, runs, csr, bursts, read_port, write_port, shell,
    )
    for proof in module.PROOFS
)  # fmt: skip
