"""Networks with one answer for every pixel: U-Net (arXiv 1505.04597), DeepLabV3 (1706.05587) on
MobileNetV2, ESPCN (1609.05158)."""

from __future__ import annotations

from fpga_gen_models.zoo.mobile import mobilenet_v2_features
from fpga_gen_models.zoo.sketch import INPUT, Sketch

CLASSES = 21


def unet(s: Sketch) -> None:
    """Half the paper's widths, padded convolutions."""
    x, skips = INPUT, []
    for width in (32, 64, 128, 256):
        x = s.conv(s.conv(x, width), width)
        skips.append(x)
        x = s.pool(x)
    x = s.conv(s.conv(x, 512), 512)
    for skip in reversed(skips):
        width = s.shapes[skip][0]
        x = s.concat([skip, s.transposed(x, width)])
        x = s.conv(s.conv(x, width), width)
    s.output(s.act(s.conv(x, 1, 1, act=""), "sigmoid"))


def deeplab_mobilenet(s: Sketch) -> None:
    """Atrous pyramid of rates 6, 12, 18 and the mean of the picture, enlarged at the end."""
    x = mobilenet_v2_features(s, dilated=True)
    _, height, width = s.shapes[x]
    mean = s.conv(s.global_average(x), 256, 1)
    branches = [s.conv(x, 256, 1), *(s.conv(x, 256, 3, dilation=r) for r in (6, 12, 18)),
                s.resize(mean, (height, width))]  # fmt: skip
    y = s.conv(s.conv(s.concat(branches), 256, 1), 256)
    y = s.conv(y, CLASSES, 1, act="")
    _, *size = s.shapes[INPUT]
    s.output(s.resize(y, (size[0], size[1])))


def espcn(s: Sketch) -> None:
    y = s.conv(s.conv(s.conv(INPUT, 64, 5), 32), 9, act="")
    _, height, width = s.shapes[y]
    s.output(s.node("DepthToSpace", [y], (1, 3 * height, 3 * width), blocksize=3, mode="CRD"))
