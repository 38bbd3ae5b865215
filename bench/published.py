"""Frames per second that AMD published for its DPU, of networks that the zoo has too.

Source: README of the model zoo of Vitis AI 2.5, "Performance on ZCU104" and "Performance on Kria
KV260 SOM": end to end on the board, pre- and post-processing on the ARM, one frame at a time and
many threads. 2 x B4096 on the ZCU104, 1 x B4096F on the KV260, both at 300 MHz.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DpuRates:
    """name: of the model in AMD's zoo; frames: (one frame at a time, many threads) by board."""

    name: str
    frames: dict[str, tuple[float, float]]


DPU = {
    "resnet18": DpuRates(
        "vehicle_type_resnet18_pt", {"zcu104": (218.02, 437.32), "kv260": (220.38, 239.78)}
    ),
    "resnet50": DpuRates("resnet50_pt", {"zcu104": (83.56, 157.2), "kv260": (84.44, 87.96)}),
    "vgg16": DpuRates("vgg_16_tf", {"zcu104": (21.49, 37.10), "kv260": (21.50, 21.72)}),
    "squeezenet": DpuRates(
        "SqueezeNet_pt", {"zcu104": (599.88, 1315.93), "kv260": (619.72, 762.62)}
    ),
    "mobilenet-v2": DpuRates(
        "mobilenet_v2_1_0_224_tf", {"zcu104": (284.18, 609.18), "kv260": (290.62, 336.82)}
    ),
    "efficientnet-b0": DpuRates(
        "efficientnet-b0_tf2", {"zcu104": (83.77, 146.26), "kv260": (84.26, 87.73)}
    ),
}
