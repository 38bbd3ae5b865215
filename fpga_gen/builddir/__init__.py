"""The build directory: its manifest, and updates that happen whole or not at all."""
