"""The two small works of the comparison with NNgen, as ONNX.

He-normal weights (seed 1234), input N(0, 1) (seed 7), ReLU, no bias, 28x28 pixels, 64 channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, CHANNELS = 28, 64
WEIGHT_SEED, INPUT_SEED, CALIBRATION_SEED = 1234, 7, 100
GROWTH, MULTIPLIER, LAYERS, TRANSITION = 14, 1.7, 8, 128  # the first HarDBlock of HarDNet-68


class _Writer:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(WEIGHT_SEED)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def conv(self, source: str, name: str, channels: int, filters: int, kernel: int) -> str:
        """Convolution and ReLU; the name of the result."""
        scale = np.sqrt(2 / (channels * kernel * kernel))
        weight = self.rng.standard_normal((filters, channels, kernel, kernel)) * scale
        self.weights.append(numpy_helper.from_array(weight.astype(np.float32), f"{name}_w"))
        self.nodes += [
            helper.make_node(
                "Conv", [source, f"{name}_w"], [f"{name}_sum"], name=name,
                kernel_shape=[kernel, kernel], strides=[1, 1], pads=[kernel // 2] * 4,
            ),
            helper.make_node("Relu", [f"{name}_sum"], [name], name=f"{name}_relu"),
        ]  # fmt: skip
        return name

    def concat(self, sources: list[str], name: str) -> str:
        """Over channels; nothing for a single source."""
        if len(sources) == 1:
            return sources[0]
        self.nodes.append(helper.make_node("Concat", sources, [name], name=name, axis=1))
        return name

    def save(self, path: Path, name: str, channels: int) -> Path:
        """The last node's result is the output, renamed."""
        self.nodes[-1].output[0] = "result"
        shape = [1, CHANNELS, SIZE, SIZE]
        graph = helper.make_graph(
            self.nodes, name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("result", TensorProto.FLOAT, [1, channels, SIZE, SIZE])],
            self.weights,
        )  # fmt: skip
        opset = [helper.make_opsetid("", 13)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=7), path)
        return path


def write_conv(path: Path) -> Path:
    """One 3x3 convolution 64 -> 64: 28.9 M multiply-accumulates."""
    writer = _Writer()
    writer.conv("image", "conv", CHANNELS, CHANNELS, 3)
    return writer.save(path, "conv", CHANNELS)


def block_links(layer: int) -> list[int]:
    """Layers that layer `layer` reads; 0 is the block's input."""
    return [layer - (1 << n) for n in range(layer.bit_length()) if layer % (1 << n) == 0]


def block_width(layer: int) -> int:
    """Channels of a layer of the block."""
    width = float(GROWTH)
    for _ in range(len(block_links(layer)) - 1):
        width *= MULTIPLIER
    return int(int(width + 1) / 2) * 2


def write_block(path: Path) -> Path:
    """A HarDBlock of 8 layers and its 1x1 transition: 146.73 M multiply-accumulates."""
    writer = _Writer()
    names, widths = ["image"], [CHANNELS]
    for layer in range(1, LAYERS + 1):
        links = block_links(layer)
        source = writer.concat([names[k] for k in links], f"concat{layer}")
        widths.append(block_width(layer))
        channels = sum(widths[k] for k in links)
        names.append(writer.conv(source, f"layer{layer}", channels, widths[-1], 3))
    kept = [k for k in range(1, LAYERS + 1) if k % 2 or k == LAYERS]
    source = writer.concat([names[k] for k in kept], "concat")
    writer.conv(source, "transition", sum(widths[k] for k in kept), TRANSITION, 1)
    return writer.save(path, "hardblock", TRANSITION)


WORKS = {
    "plain 3x3 conv 64-64, 28x28": write_conv,
    "HarDBlock 64 channels, growth 14, 8 layers, 28x28": write_block,
}


def draw_input(seed: int = INPUT_SEED) -> np.ndarray:
    """float32 (64, 28, 28), N(0, 1)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((CHANNELS, SIZE, SIZE)).astype(np.float32)
