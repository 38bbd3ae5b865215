"""Weights of an exported network back in its PyTorch model, so that training can go on from it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

HALF = ".half"  # what `export_onnx` appends to the name of a weight that it stores in 16 bits


@torch.no_grad()
def load_onnx(model: nn.Module, path: str | Path, pictures: Tensor) -> int:
    """Copies the weights of a file of `fpga-gen models export` into `model`, in eval mode.

    The exporter folds every BatchNorm into the convolution before it. Here each is opened again:
    its running statistics are those of `pictures`, and scale and shift follow from them, so that
    the model in eval mode computes what the file does, and in training mode nearly so.

    Args:
        pictures: normalised pictures [N, 3, S, S] like those to come.

    Returns:
        Number of convolutions that were loaded.

    Raises:
        ValueError: the file cannot be read, or its weights are not those of this model.
    """
    values = read_weights(path)
    norms = _norms(model)
    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    missing, shifts = [], {}
    for name, conv in convolutions.items():
        weight = values.get(f"{name}.weight")
        bias = values.get(f"{name}.bias" if name not in norms else f"{name}.weight_bias")
        wants_bias = conv.bias is not None or name in norms
        if weight is None or weight.shape != conv.weight.shape or (wants_bias and bias is None):
            missing.append(name)
            continue
        conv.weight.copy_(weight)
        if name in norms:
            shifts[norms[name]] = bias
        elif conv.bias is not None:
            conv.bias.copy_(bias)
    if missing:
        raise ValueError(
            f"{path}: does not hold the weights of {type(model).__name__} as `fpga-gen models "
            f"export` writes them; without: {', '.join(missing[:10])} ({len(missing)} in all)"
        )
    _open_norms(model, shifts, pictures)
    return len(convolutions)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Initialisers of an ONNX file by the names of the parameters, float32."""
    try:
        graph = onnx.load(str(path)).graph
    except (
        Exception
    ) as error:  # protobuf's, onnx's and the file system's errors have no common base
        raise ValueError(f"{path}: not a readable ONNX file: {error}") from error
    return {
        item.name.removesuffix(HALF): torch.from_numpy(
            np.array(numpy_helper.to_array(item), np.float32)
        )
        for item in graph.initializer
        if item.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }


def _norms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The BatchNorm behind each convolution that has one, by the convolution's name."""
    found = {}
    for name, parent in model.named_modules():
        for (inner, conv), (_, norm) in pairwise(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                found[f"{name}.{inner}" if name else inner] = norm
    return found


def _open_norms(model: nn.Module, shifts: dict[nn.BatchNorm2d, Tensor], pictures: Tensor) -> None:
    """Gives every norm the statistics of its input, and makes it add its shift."""

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(mean + shifts[norm].to(mean.device))

    hooks = [norm.register_forward_pre_hook(measure) for norm in shifts]
    model.eval()
    try:
        model(pictures)
    finally:
        for hook in hooks:
            hook.remove()
