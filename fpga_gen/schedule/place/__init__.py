"""Where maps lie in on-chip memory."""
