"""Accuracy of a build directory on a labelled folder of pictures: float, integer and RTL masks."""
