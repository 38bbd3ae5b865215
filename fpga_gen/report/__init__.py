"""Reports: facts as dataclasses, rendered as JSON, Markdown and terminal tables."""

from fpga_gen.report.accuracy import Accuracy, MaskScores, TensorSqnr
from fpga_gen.report.facts import (
    ArrayFacts,
    BoardFacts,
    Estimate,
    LayerFacts,
    MemoryFacts,
    ModelFacts,
    Report,
    ResourceFacts,
    Simulation,
    utilisation,
)
from fpga_gen.report.implementation import Implementation, SlackFacts
from fpga_gen.report.markdown import render_markdown

__all__ = [
    "Accuracy",
    "ArrayFacts",
    "BoardFacts",
    "Estimate",
    "Implementation",
    "LayerFacts",
    "MaskScores",
    "MemoryFacts",
    "ModelFacts",
    "Report",
    "ResourceFacts",
    "Simulation",
    "SlackFacts",
    "TensorSqnr",
    "render_markdown",
    "utilisation",
]
