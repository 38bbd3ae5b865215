"""Zeros where an engine can leave out work, until a frame is fast enough; nothing is trained."""
