"""Rewrites of a model that keep its function: BatchNorm folding, random BatchNorm statistics."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy of `model` in eval mode with every BatchNorm folded into the convolution before it.

    Exact up to rounding in float32 (the folding itself is done in float64). The convolutions gain a
    bias; the BatchNorm modules become Identity, so the parameter names of the weights stay. Raises
    ValueError where a BatchNorm does not directly follow a convolution in its parent.
    """
    folded = copy.deepcopy(model).eval()
    for name, parent in list(folded.named_modules()):
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            if not isinstance(conv, nn.Conv2d):
                raise ValueError(f"{name}.{norm_name}: no convolution before this BatchNorm")
            dtype = conv.weight.dtype
            fused = fuse_conv_bn_eval(conv.double(), norm.double()).to(dtype)
            setattr(parent, conv_name, fused)
            setattr(parent, norm_name, nn.Identity())
    left = [name for name, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    if left:
        raise ValueError("BatchNorm without a convolution before it: " + ", ".join(left))
    return folded


def synthetic_images(count: int, size: int, generator: torch.Generator) -> Tensor:
    """[count, 3, size, size] pictures of smooth coloured noise at three scales, about N(0, 1)."""
    image = torch.zeros(count, 3, size, size)
    for cells in (4, 16, size):
        noise = torch.randn(count, 3, cells, cells, generator=generator)
        image += nn.functional.interpolate(noise, (size, size), mode="bicubic")
    return image / image.std()


@torch.no_grad()
def randomise_batchnorm(model: nn.Module, size: int, seed: int, batches: int = 2) -> None:
    """Gives a freshly initialised model BatchNorm parameters like a trained one's, in place.

    Scales are drawn from U(0.6, 1.4), shifts from N(0, 0.2); running statistics are the averages
    over `batches` synthetic batches of four size x size pictures, so that activations neither
    vanish nor explode. Leaves the model in eval mode.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.weight.copy_(0.6 + 0.8 * torch.rand(norm.weight.shape, generator=generator))
        norm.bias.copy_(0.2 * torch.randn(norm.bias.shape, generator=generator))
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for _ in range(batches):
        model(synthetic_images(4, size, generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
