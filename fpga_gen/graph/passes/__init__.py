"""Rewrites of the float graph: pure functions Graph -> Graph, run in order by `optimise`."""
