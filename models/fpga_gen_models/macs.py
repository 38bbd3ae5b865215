"""Multiply-accumulates and weights of a model, counted on one forward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelCost:
    """macs: multiply-accumulates per picture; weights: of convolutions and linear layers, without
    biases and BatchNorm; convolutions: how many there are."""

    macs: int
    weights: int
    convolutions: int


@torch.no_grad()
def count_macs(model: nn.Module, size: int) -> ModelCost:
    """Cost of `model` for one [1, 3, size, size] picture. Padding counts as work; resizing, adding
    and pooling do not. The model must be in eval mode."""
    macs = weights = convolutions = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs, weights, convolutions
        weight: Tensor = module.weight  # type: ignore[assignment]
        positions = output.numel() // weight.shape[0]
        macs += weight.numel() * positions
        weights += weight.numel()
        convolutions += isinstance(module, nn.Conv2d)

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        parameter = next(model.parameters())
        model(torch.zeros(1, 3, size, size, dtype=parameter.dtype, device=parameter.device))
    finally:
        for hook in hooks:
            hook.remove()
    return ModelCost(macs, weights, convolutions)
