"""fpga-gen: compile an ONNX CNN into a bit-exact FPGA accelerator.

    import fpga_gen

    b = fpga_gen.build("model.onnx", board="kv260")
    b.estimate.fps                       # of the cycle model
    frame = b.simulate("picture.png")    # one frame through the generated Verilog, bit for bit
    scores = b.evaluate("images", "masks")
    b.report                             # a page in Jupyter; b.report.plots holds its charts
    b = fpga_gen.Build("build/model-kv260")      # opens it again

    session = fpga_gen.Session(b.directory)      # the interface of onnxruntime.InferenceSession
    fpga_gen.prune("model.onnx", board="kv260", share=0.5, calibration="images", output="half.onnx")

What is not needed is not imported: each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpga_gen.api.build import Bitstream, Build, build, compare
    from fpga_gen.api.estimate import (
        BoardEstimate,
        Estimated,
        check,
        estimate,
        estimate_boards,
    )
    from fpga_gen.api.explore import explore
    from fpga_gen.api.frame import FrameResult
    from fpga_gen.api.prune import Pruned, prune
    from fpga_gen.api.session import Session
    from fpga_gen.errors import FpgaGenError

__version__ = "0.2.0"

_PLACES = {
    "BoardEstimate": "fpga_gen.api.estimate",
    "Bitstream": "fpga_gen.api.build",
    "Build": "fpga_gen.api.build",
    "Estimated": "fpga_gen.api.estimate",
    "FpgaGenError": "fpga_gen.errors",
    "FrameResult": "fpga_gen.api.frame",
    "Pruned": "fpga_gen.api.prune",
    "Session": "fpga_gen.api.session",
    "build": "fpga_gen.api.build",
    "check": "fpga_gen.api.estimate",
    "compare": "fpga_gen.api.build",
    "estimate": "fpga_gen.api.estimate",
    "estimate_boards": "fpga_gen.api.estimate",
    "explore": "fpga_gen.api.explore",
    "prune": "fpga_gen.api.prune",
}
__all__ = [
    "Bitstream",
    "BoardEstimate",
    "Build",
    "Estimated",
    "FpgaGenError",
    "FrameResult",
    "Pruned",
    "Session",
    "build",
    "check",
    "compare",
    "estimate",
    "estimate_boards",
    "explore",
    "prune",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'fpga_gen' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
