"""Loading published and own checkpoints: strict on the live part, explicit about the rest."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

#: Layers that the published HarDNet-MSEG constructs but never runs, and the classifier tail of its
#: encoder. A checkpoint may carry them; they are dropped and listed.
MSEG_DEAD_PREFIXES = ("ra2_", "ra3_", "ra4_", "conv2.", "conv3.", "conv4.", "conv5.", "conv6.")
MSEG_DEAD_PREFIXES += ("linear", "hardnet.base.16.", "hardnet.linear")


@dataclass(frozen=True)
class LoadReport:
    """loaded: number of tensors copied into the model; ignored: known dead keys, sorted."""

    loaded: int
    ignored: tuple[str, ...]


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads tensors by name from a .pth file.

    Accepts a bare state dict or a dict holding one under "state_dict", "ema" or "model" (the first
    that is there), and strips `module.` of DataParallel. Only tensors and plain containers are
    unpickled. Raises ValueError when the file holds no state dict.
    """
    try:
        data: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(f"{path}: not a PyTorch checkpoint of plain tensors: {error}") from error
    for key in ("state_dict", "ema", "model"):
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
            break
    if not isinstance(data, Mapping) or not all(isinstance(v, Tensor) for v in data.values()):
        raise ValueError(f"{path}: not a state dict (expected tensors by parameter name)")
    return {key.removeprefix("module."): value for key, value in data.items()}


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], dead_prefixes: tuple[str, ...] = ()
) -> LoadReport:
    """Copies `state` into `model` (any float type is converted), strictly on the live part.

    A key the model lacks is ignored only where it starts with one of `dead_prefixes`.
    `num_batches_tracked` counters may be absent: files of old PyTorch versions have none.
    Raises ValueError that lists every missing, unexpected and mis-shaped key.
    """
    target = model.state_dict()
    extra = [key for key in state if key not in target]
    ignored = sorted(key for key in extra if key.startswith(dead_prefixes or ("\0",)))
    unexpected = sorted(set(extra) - set(ignored))
    absent = [key for key in target if key not in state]
    missing = sorted(key for key in absent if not key.endswith("num_batches_tracked"))
    shapes = [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(value.shape)}"
        for key, value in target.items()
        if key in state and state[key].shape != value.shape
    ]
    problems = []
    for title, keys in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)):
        if keys:
            problems.append(f"{title} ({len(keys)}): " + ", ".join(keys))
    if problems:
        raise ValueError(f"checkpoint does not fit {type(model).__name__}: " + "; ".join(problems))
    live = {key: value for key, value in state.items() if key in target}
    model.load_state_dict(live, strict=False)
    return LoadReport(len(live), tuple(ignored))


def load_checkpoint(model: nn.Module, path: str | Path) -> LoadReport:
    """Loads the checkpoint file `path` into `model`; see `read_state_dict` and `load_state`."""
    from fpga_gen_models.hardnet_mseg import HarDNetMSEG

    dead = MSEG_DEAD_PREFIXES if isinstance(model, HarDNetMSEG) else ()
    state = read_state_dict(path)
    try:
        return load_state(model, state, dead)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def save_half(model_state: Mapping[str, Tensor], path: str | Path | BinaryIO) -> None:
    """Writes a state dict with its floating-point tensors in half precision."""
    half = {
        key: value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()
        for key, value in model_state.items()
    }
    torch.save(half, path)
