"""Names of layers that a reader of the model recognises."""

from __future__ import annotations

from pathlib import Path

import onnx

ENDS = (".weight", ".bias", "/Conv", "/Gemm", "/MatMul")


def layer_labels(path: Path) -> dict[str, str]:
    """By name of the ONNX node: the module that its weight belongs to (`base.1.layers.0.conv`), or
    the path in its own name; nodes whose names tell no more are left out.

    The model must have passed import.
    """
    graph = onnx.load(str(path), load_external_data=False).graph
    labels = {}
    for node in graph.node:
        own = [name for name in node.input[1:2] if name.endswith(ENDS[0])]
        text = own[0] if own else node.name if "/" in node.name else ""
        for end in ENDS:
            text = text.removesuffix(end)
        text = text.strip("/").replace("/", ".")
        if node.name and text:
            labels[node.name] = text
    return labels
