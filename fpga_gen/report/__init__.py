"""Reports: facts as dataclasses, rendered as JSON, Markdown and terminal tables."""

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
from fpga_gen.report.markdown import render_markdown

__all__ = [
    "ArrayFacts",
    "BoardFacts",
    "Estimate",
    "LayerFacts",
    "MemoryFacts",
    "ModelFacts",
    "Report",
    "ResourceFacts",
    "Simulation",
    "render_markdown",
    "utilisation",
]
