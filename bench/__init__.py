"""Benchmarks: this engine beside its lower bounds, NNgen and published figures.

`make bench` runs them; `python -m bench --help` tells the options. Needs a clone, it is no part of
the installed package.
"""
