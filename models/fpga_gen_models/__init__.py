"""The HarDNet family as PyTorch reference models: definition, checkpoints, ONNX export, training.

Importing this package does not import torch: a command line can list `MODELS` at start-up at no
cost. Everything that needs torch is imported when a builder is called or a submodule is imported.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "ModelInfo"]


class ModelInfo(NamedTuple):
    """One entry of `MODELS`.

    builder: call without arguments for the network with freshly initialised weights, in train mode.
    input_size: usual height and width of the input in pixels, a multiple of 32.
    description: one line for a listing.
    """

    builder: Callable[[], "nn.Module"]
    input_size: int
    description: str


def _lazy(module: str, function: str, *args: str) -> Callable[[], "nn.Module"]:
    """A builder that imports its module (and with it torch) only when it is called."""

    def build() -> "nn.Module":
        return getattr(import_module(f"fpga_gen_models.{module}"), function)(*args)

    return build


MODELS: dict[str, ModelInfo] = {
    "hardnet-39ds": ModelInfo(
        _lazy("hardnet", "build_hardnet", "39ds"),
        224,
        "HarDNet-39DS classifier, depthwise-separable, 0.43 GMAC at 224x224",
    ),
    "hardnet-68ds": ModelInfo(
        _lazy("hardnet", "build_hardnet", "68ds"),
        224,
        "HarDNet-68DS classifier, depthwise-separable, 0.78 GMAC at 224x224",
    ),
    "hardnet-68": ModelInfo(
        _lazy("hardnet", "build_hardnet", "68"),
        224,
        "HarDNet-68 classifier, 4.25 GMAC at 224x224",
    ),
    "hardnet-85": ModelInfo(
        _lazy("hardnet", "build_hardnet", "85"),
        224,
        "HarDNet-85 classifier, 9.07 GMAC at 224x224",
    ),
    "hardnet-mseg": ModelInfo(
        _lazy("hardnet_mseg", "HarDNetMSEG"),
        352,
        "HarDNet-MSEG polyp segmentation, 11.35 GMAC at 352x352",
    ),
}
