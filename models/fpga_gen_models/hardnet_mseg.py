"""HarDNet-MSEG: HarDNet-68 encoder, receptive field blocks, cascaded partial decoder.

Source: Huang, Wu, Lin, "HarDNet-MSEG: A Simple Encoder-Decoder Polyp Segmentation Neural Network",
arXiv 2101.07172. The published module also constructs layers that its forward pass never calls;
only the live part is defined here, under the published parameter names (see `checkpoint.py`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fpga_gen_models.hardnet import backbone_layers
from fpga_gen_models.hardnet_spec import SPECS

#: indices in `base` of HarDNet-68 whose outputs feed the decoder: strides 8, 16, 32
FEATURE_INDICES = (9, 12, 15)
FEATURE_CHANNELS = (320, 640, 1024)


class BasicConv2d(nn.Module):
    """Convolution without bias and BatchNorm; the decoder has no activation behind them."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int | tuple[int, int],
        padding: int | tuple[int, int] = 0,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


def _rfb_branch(channels: int, out: int, k: int) -> nn.Sequential:
    """1x1, 1xk, kx1, then 3x3 with dilation k."""
    return nn.Sequential(
        BasicConv2d(channels, out, 1),
        BasicConv2d(out, out, (1, k), padding=(0, k // 2)),
        BasicConv2d(out, out, (k, 1), padding=(k // 2, 0)),
        BasicConv2d(out, out, 3, padding=k, dilation=k),
    )


class RFB(nn.Module):
    """Receptive field block: [N, C, H, W] -> [N, out, H, W], ReLU(3x3(concat) + 1x1(input))."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.branch0 = nn.Sequential(BasicConv2d(channels, out, 1))
        self.branch1 = _rfb_branch(channels, out, 3)
        self.branch2 = _rfb_branch(channels, out, 5)
        self.branch3 = _rfb_branch(channels, out, 7)
        self.conv_cat = BasicConv2d(4 * out, out, 3, padding=1)
        self.conv_res = BasicConv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x))
        return F.relu(self.conv_cat(torch.cat(branches, 1)) + self.conv_res(x))


class Aggregation(nn.Module):
    """Dense aggregation of three maps at strides 32, 16, 8 -> one logit map at stride 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        one, two, three = channels, 2 * channels, 3 * channels
        self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv_upsample1 = BasicConv2d(one, one, 3, padding=1)
        self.conv_upsample2 = BasicConv2d(one, one, 3, padding=1)
        self.conv_upsample3 = BasicConv2d(one, one, 3, padding=1)
        self.conv_upsample4 = BasicConv2d(one, one, 3, padding=1)
        self.conv_upsample5 = BasicConv2d(two, two, 3, padding=1)
        self.conv_concat2 = BasicConv2d(two, two, 3, padding=1)
        self.conv_concat3 = BasicConv2d(three, three, 3, padding=1)
        self.conv4 = BasicConv2d(three, three, 3, padding=1)
        self.conv5 = nn.Conv2d(three, 1, 1)

    def forward(self, low: Tensor, mid: Tensor, high: Tensor) -> Tensor:
        """low, mid, high: [N, channels] maps at strides 32, 16, 8. Returns [N, 1] at stride 8."""
        up = self.upsample
        mid_gated = self.conv_upsample1(up(low)) * mid
        high_gated = self.conv_upsample2(up(up(low))) * self.conv_upsample3(up(mid)) * high
        mid_all = self.conv_concat2(torch.cat((mid_gated, self.conv_upsample4(up(low))), 1))
        high_all = self.conv_concat3(torch.cat((high_gated, self.conv_upsample5(up(mid_all))), 1))
        return self.conv5(self.conv4(high_all))


class _Encoder(nn.Module):
    """HarDNet-68 without its classifier tail; returns the maps at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.ModuleList(backbone_layers(SPECS["68"]))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for index, layer in enumerate(self.base):
            x = layer(x)
            if index in FEATURE_INDICES:
                features.append(x)
        return features


class HarDNetMSEG(nn.Module):
    """Polyp segmentation: [N, 3, H, W] normalised RGB -> [N, 1, H, W] logits.

    H and W are multiples of 32 (352 in the paper); a pixel is polyp where its logit is positive.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.hardnet = _Encoder()
        self.rfb2_1 = RFB(FEATURE_CHANNELS[0], channels)
        self.rfb3_1 = RFB(FEATURE_CHANNELS[1], channels)
        self.rfb4_1 = RFB(FEATURE_CHANNELS[2], channels)
        self.agg1 = Aggregation(channels)

    def forward(self, x: Tensor) -> Tensor:
        high, mid, low = self.hardnet(x)
        logits = self.agg1(self.rfb4_1(low), self.rfb3_1(mid), self.rfb2_1(high))
        return F.interpolate(logits, scale_factor=8, mode="bilinear", align_corners=False)
