"""Segmentation masks of a deployed network: threshold, letterbox bars off, tint and contour."""

from __future__ import annotations

import numpy as np

from fpga_gen_host import pictures
from fpga_gen_host.accelerator import Outputs
from fpga_gen_host.deployment import Deployment
from fpga_gen_host.errors import InputError


def mask_of(outputs: Outputs, deployment: Deployment) -> np.ndarray:
    """bool (h, w) at the model's resolution, of the first output, a one-channel map."""
    name = deployment.output_names[0]
    values = outputs[name]
    if values.ndim != 4 or values.shape[:2] != (1, 1):
        raise InputError(f"output '{name}' has shape {values.shape}, a mask needs (1, 1, h, w)")
    return values[0, 0] > deployment.threshold


def full_mask(mask: np.ndarray, size: tuple[int, int], deployment: Deployment) -> np.ndarray:
    """bool mask at the picture's own size (h, w)."""
    return pictures.full_mask(mask, size, deployment.preparation)


def overlay(picture: np.ndarray, mask: np.ndarray, deployment: Deployment) -> np.ndarray:
    """uint8 (h, w, 3): the picture with the mask tinted and outlined at its own resolution."""
    return pictures.overlay(picture, mask, deployment.preparation)
