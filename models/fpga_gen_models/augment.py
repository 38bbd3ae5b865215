"""Normalisation and batched augmentation of pictures and masks, on the device of the batch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

#: mean and standard deviation of ImageNet, RGB in [0, 1]
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """Ranges, each drawn uniformly per picture.

    rotation: degrees to either side; zoom: largest factor in or out; shift: fraction of the side;
    brightness, contrast, saturation: largest relative change; flips happen with probability 1/2.
    """

    flips: bool = True
    rotation: float = 90.0
    zoom: float = 1.25
    shift: float = 0.08
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


def normalise(images: Tensor) -> Tensor:
    """[N, 3, H, W] in 0..255 (uint8 or float) -> float32, zero mean and unit deviation."""
    scaled = images.float() / 255
    return (scaled - _channels(MEAN, scaled)) / _channels(STD, scaled)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def random_affine(count: int, ranges: Augmentation, generator: torch.Generator) -> Tensor:
    """[count, 2, 3] matrices from output to input coordinates, for `affine_grid`."""
    angle = _uniform(count, -1, 1, generator) * math.radians(ranges.rotation)
    zoom = torch.exp(_uniform(count, -1, 1, generator) * math.log(ranges.zoom))
    shift = _uniform(2 * count, -1, 1, generator).view(count, 2) * 2 * ranges.shift
    signs = torch.ones(count, 2)
    if ranges.flips:
        signs = torch.randint(0, 2, (count, 2), generator=generator) * 2.0 - 1
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = torch.stack((cos, -sin, sin, cos), 1).view(count, 2, 2) * signs.unsqueeze(1)
    return torch.cat((rows, shift.unsqueeze(2)), 2)


def random_colour(images: Tensor, ranges: Augmentation, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation of float pictures in 0..255, clipped to that range."""

    def factor(change: float) -> Tensor:
        values = _uniform(images.shape[0], 1 - change, 1 + change, generator)
        return values.view(-1, 1, 1, 1).to(images)

    images = images * factor(ranges.brightness)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * factor(ranges.contrast)
    grey = (images * _channels(_GREY, images)).sum(1, keepdim=True)
    return (grey + (images - grey) * factor(ranges.saturation)).clamp(0, 255)


def augment(
    images: Tensor,
    masks: Tensor,
    size: int,
    generator: torch.Generator,
    ranges: Augmentation | None = None,
) -> tuple[Tensor, Tensor]:
    """One training batch from uint8 pictures [N, 3, H, W] and masks [N, 1, H, W].

    Returns normalised pictures [N, 3, size, size] and float masks of 0 and 1 [N, 1, size, size].
    Geometry is one bilinear resampling of both, with reflection at the border. The random numbers
    come from `generator` (on the CPU) alone. ranges: None is the default `Augmentation`.
    """
    ranges = ranges or Augmentation()
    both = torch.cat((images, masks * 255), 1).float()
    matrices = random_affine(len(both), ranges, generator).to(both)
    grid = F.affine_grid(matrices, [len(both), 4, size, size], align_corners=False)
    both = F.grid_sample(both, grid, "bilinear", "reflection", align_corners=False)
    colour = random_colour(both[:, :3], ranges, generator)
    return normalise(colour), (both[:, 3:] > 127.5).float()
