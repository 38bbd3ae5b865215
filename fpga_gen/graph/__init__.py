"""Float graph: typed IR, passes and interpreter."""
