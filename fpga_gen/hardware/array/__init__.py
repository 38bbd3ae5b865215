"""MAC columns, their weights and partial sums."""
