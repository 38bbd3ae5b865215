"""Networks that people bring, as ONNX with random weights: what a compiler must take.

Each is built node by node as exporters write it, with batch normalisation folded where they fold
it. No torch is needed. Layers and widths follow the papers named with each function.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fpga_gen_models.zoo import (
    audio,
    classifiers,
    detectors,
    hardnet_detect,
    hardnet_pixels,
    mobile,
    pixels,
)
from fpga_gen_models.zoo.sketch import Sketch

__all__ = ["NETWORKS", "Network", "export_network"]


class Network(NamedTuple):
    """One entry of `NETWORKS`. build: draws the network on a sketch; shape: (C, H, W) of its input,
    or (C, L); description: one line for a listing."""

    build: Callable[[Sketch], None]
    shape: tuple[int, ...]
    description: str


NETWORKS: dict[str, Network] = {
    "resnet18": Network(classifiers.resnet18, (3, 224, 224), "ResNet-18 classifier"),
    "resnet50": Network(classifiers.resnet50, (3, 224, 224), "ResNet-50 classifier"),
    "vgg16": Network(classifiers.vgg16, (3, 224, 224), "VGG-16 classifier"),
    "alexnet": Network(classifiers.alexnet, (3, 224, 224), "AlexNet classifier"),
    "squeezenet": Network(classifiers.squeezenet, (3, 224, 224), "SqueezeNet 1.1 classifier"),
    "densenet121": Network(classifiers.densenet121, (3, 224, 224), "DenseNet-121 classifier"),
    "mobilenet-v2": Network(mobile.mobilenet_v2, (3, 224, 224), "MobileNetV2 classifier"),
    "mobilenet-v3": Network(mobile.mobilenet_v3, (3, 224, 224), "MobileNetV3-Large classifier"),
    "efficientnet-lite0": Network(
        mobile.efficientnet_lite0, (3, 224, 224), "EfficientNet-lite0 classifier"
    ),
    "efficientnet-b0": Network(mobile.efficientnet_b0, (3, 224, 224), "EfficientNet-B0 classifier"),
    "shufflenet-v2": Network(mobile.shufflenet_v2, (3, 224, 224), "ShuffleNetV2 1.0x classifier"),
    "unet": Network(pixels.unet, (3, 256, 256), "U-Net with transposed convolutions"),
    "deeplab-mobilenet": Network(
        pixels.deeplab_mobilenet, (3, 256, 256), "DeepLabV3 on MobileNetV2, 21 classes"
    ),
    "espcn": Network(pixels.espcn, (1, 180, 320), "ESPCN, threefold super-resolution"),
    "yolov3-tiny": Network(detectors.yolov3_tiny, (3, 416, 416), "YOLOv3-tiny detector"),
    "yolov5n": Network(detectors.yolov5n, (3, 640, 640), "YOLOv5n-like detector, boxes decoded"),
    "yolov8n": Network(detectors.yolov8n, (3, 640, 640), "YOLOv8n-like detector, boxes decoded"),
    "fc-hardnet70": Network(
        hardnet_pixels.fc_hardnet70, (3, 1024, 2048), "FC-HarDNet-70, 19 classes of Cityscapes"
    ),
    "fc-hardnet70-classes": Network(
        hardnet_pixels.fc_hardnet70_classes, (3, 1024, 2048), "the same, classes at quarter size"
    ),
    "csp-hardnet": Network(
        hardnet_pixels.csp_hardnet, (3, 512, 1024), "FC-HarDNet with cross-stage partial blocks"
    ),
    "ssd300-hardnet68": Network(
        hardnet_detect.ssd_hardnet68, (3, 300, 300), "SSD300 on HarDNet-68, 81 classes"
    ),
    "ssd512-hardnet68": Network(
        hardnet_detect.ssd_hardnet68, (3, 512, 512), "SSD512 on HarDNet-68, 81 classes"
    ),
    "ssd300-hardnet85": Network(
        hardnet_detect.ssd_hardnet85, (3, 300, 300), "SSD300 on HarDNet-85, 81 classes"
    ),
    "ssd512-hardnet85": Network(
        hardnet_detect.ssd_hardnet85, (3, 512, 512), "SSD512 on HarDNet-85, 81 classes"
    ),
    "centernet-hardnet85": Network(
        hardnet_detect.centernet_hardnet85, (3, 512, 512), "CenterNet on HarDNet-85, 80 classes"
    ),
    "fairmot-hardnet85": Network(
        hardnet_detect.fairmot_hardnet85, (3, 608, 1088), "FairMOT on HarDNet-85"
    ),
    "tc-resnet8": Network(audio.tc_resnet8, (40, 101), "TC-ResNet8 keyword spotter, Conv1d"),
}


def export_network(
    name: str,
    path: Path,
    *,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    half: bool = False,
) -> Path:
    """Writes a network of `NETWORKS` as ONNX; equal arguments give equal bytes.

    size: height and width, or both in one, instead of the usual ones; half: weights as float16.

    Raises:
        KeyError: the name is unknown.
        ValueError: a network of one dimension has no such size.
    """
    network = NETWORKS[name]
    shape = network.shape
    if size is not None:
        if len(shape) != 3:
            raise ValueError(f"{name} has no height and width")
        sides = (size, size) if isinstance(size, int) else size
        shape = (shape[0], *sides)
    sketch = Sketch(shape, seed=seed, half=half)
    network.build(sketch)
    return sketch.save(path, name)
