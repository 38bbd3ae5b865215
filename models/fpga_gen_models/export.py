"""ONNX export of the models by both of PyTorch's exporters."""

import logging
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from fpga_gen.disk import replace_file
from fpga_gen_models import MODELS

if TYPE_CHECKING:
    import onnx
    from torch import nn

EXPORTERS = ("dynamo", "torchscript")
#: the operator set of both exporters' output
OPSET = 18


def build_model(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    input_size: int | None = None,
    seed: int = 0,
) -> "nn.Module":
    """The model `name` in eval mode, float32.

    checkpoint: .pth file to load; without one the weights are random from `seed`, with plausible
    BatchNorm statistics. Raises KeyError for an unknown name, ValueError for an input size that is
    no multiple of 32 or a checkpoint that does not fit.
    """
    import torch

    from fpga_gen_models.checkpoint import load_checkpoint
    from fpga_gen_models.transform import randomise_batchnorm

    if name not in MODELS:
        raise KeyError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    info = MODELS[name]
    size = info.input_size if input_size is None else input_size
    if size <= 0 or size % 32:
        raise ValueError(f"input size must be a positive multiple of 32, not {size}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = info.builder()
        if checkpoint is None:
            # half the size is enough for the statistics, and four times as fast
            randomise_batchnorm(model, max(64, size // 64 * 32), seed)
        else:
            load_checkpoint(model, checkpoint)
    return model.eval()


def export_onnx(
    name: str,
    path: str | Path,
    *,
    checkpoint: str | Path | None = None,
    input_size: int | None = None,
    fold: bool = False,
    exporter: str = "dynamo",
    seed: int = 0,
    half: bool = False,
) -> Path:
    """Writes model `name` as one self-contained ONNX file and returns its path.

    Input `image` [1, 3, S, S] float32, RGB / 255 normalised by the ImageNet mean and standard
    deviation; output `logits` ([1, 1000], or [1, 1, S, S] for segmentation). All shapes are static.

    fold: fold BatchNorm into the convolutions before the export; either exporter may do so anyway.
    exporter: "dynamo" (torch.export) or "torchscript" (tracing). half: keep weights as float16,
    each with a Cast behind it (half the file; every consumer still computes in float32). Raises as
    `build_model` does.
    """
    if exporter not in EXPORTERS:
        raise ValueError(f"unknown exporter {exporter!r}; known: {', '.join(EXPORTERS)}")
    from fpga_gen_models.transform import fold_batchnorm

    model = build_model(name, checkpoint=checkpoint, input_size=input_size, seed=seed)
    if fold:
        model = fold_batchnorm(model)
    size = MODELS[name].input_size if input_size is None else input_size
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(model, path, size, exporter, half)
    return path


def write_onnx(
    model: "nn.Module", path: Path, size: int, exporter: str, half: bool = False
) -> None:
    """Exports `model` (eval mode) for a [1, 3, size, size] input, checked, in one rename."""
    import onnx
    import torch

    example = torch.zeros(1, 3, size, size)
    with tempfile.TemporaryDirectory(prefix="fpga-gen-") as folder:
        raw = Path(folder) / "model.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            torch.onnx.export(
                model,
                (example,),
                str(raw),
                input_names=["image"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamo=exporter == "dynamo",
                external_data=False,
                verbose=False,
            )
        onnx.checker.check_model(str(raw), full_check=True)
        graph = onnx.load(raw)
        _drop_traces(graph)
        if half:
            _halve_weights(graph)
    replace_file(path, graph.SerializeToString())


def _drop_traces(model: "onnx.ModelProto") -> None:
    """Removes source positions and the like, which differ between machines, from an ONNX file."""
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")


def _halve_weights(model: "onnx.ModelProto", smallest: int = 1024) -> None:
    """Stores float32 initialisers of at least `smallest` elements as float16 plus a Cast."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for item in model.graph.initializer:
        value = numpy_helper.to_array(item)
        if item.data_type != TensorProto.FLOAT or value.size < smallest:
            continue
        name = item.name
        item.CopyFrom(numpy_helper.from_array(value.astype(np.float16), f"{name}.half"))
        casts.append(
            helper.make_node("Cast", [f"{name}.half"], [name], f"cast_{name}", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
