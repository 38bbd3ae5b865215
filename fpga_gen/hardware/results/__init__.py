"""Sums on their way out: requantisation, max-pool, vector unit, exit path."""
