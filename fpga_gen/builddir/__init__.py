"""The build directory: what is in it, how it is written and verified."""
