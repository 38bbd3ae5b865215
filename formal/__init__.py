"""Proofs of the hardware: properties, the harness that proves them, mutations that they catch."""
