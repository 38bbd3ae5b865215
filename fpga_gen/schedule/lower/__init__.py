"""Nodes of the quantised graph -> instructions."""
