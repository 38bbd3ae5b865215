"""Keyword spotting: TC-ResNet8 (arXiv 1904.03814), convolutions over time of 40 coefficients."""

from __future__ import annotations

from fpga_gen_models.zoo.sketch import INPUT, Sketch


def tc_resnet8(s: Sketch) -> None:
    x = s.conv(INPUT, 16, 3)
    for width in (24, 32, 48):
        y = s.conv(s.conv(x, width, 9, 2), width, 9, act="", gain=0.5)
        x = s.add(y, s.conv(x, width, 1, 2, act=""), "relu")
    s.classify(x, 12)
