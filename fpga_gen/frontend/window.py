"""Geometry of convolution and pooling windows (ONNX auto_pad, ceil_mode)."""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.inputs import MAX_SIZE
from fpga_gen.frontend.problems import Refused


@dataclass(frozen=True)
class Window:
    """Window of a convolution or pooling; all pairs (y, x), pads (top, left, bottom, right).

    pads: as given; out: (height, width); ceil_pads: with the extra bottom and right padding that
    ceil_mode needs, so that floor mode gives `out`.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]
    out: tuple[int, int]
    ceil_pads: tuple[int, int, int, int]

    def reach(self, axis: int) -> int:
        """Elements from the first to the last tap of a window."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1


def window_of(call: Call, size: tuple[int, int], kernel: list[int], *, ceil: bool) -> Window:
    """Window of a node over a map of `size`; Refused if it is not a valid 2D window."""
    stride = call.integers("strides") or [1, 1]
    dilation = call.integers("dilations") or [1, 1]
    pads = call.integers("pads") or [0, 0, 0, 0]
    if not (len(kernel) == len(stride) == len(dilation) == 2 and len(pads) == 4):
        raise Refused("is not two-dimensional", "use 2D operators")
    if min(*kernel, *stride, *dilation) < 1:
        raise Refused("has a kernel, stride or dilation below 1", "export the model again")
    if max(*kernel, *stride, *dilation, *pads) > MAX_SIZE:
        raise Refused(f"has a window or padding larger than {MAX_SIZE}", "export the model again")
    if min(pads) < 0:
        raise Refused("has negative padding (cropping)", "crop by other means")
    auto = call.text("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads = _same(size, kernel, stride, dilation, lower=auto == "SAME_LOWER")
    elif auto == "VALID":
        pads = [0, 0, 0, 0]
    out, extra = [], list(pads)
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        room = size[axis] + pads[axis] + pads[axis + 2] - reach
        if room < 0:
            raise Refused(f"its window is larger than its input {size}", "use a larger input")
        count = room // stride[axis] + 1
        if ceil and auto in ("NOTSET", ""):
            count = -(-room // stride[axis]) + 1
            # A window that would start in the right padding is dropped.
            if (count - 1) * stride[axis] >= size[axis] + pads[axis]:
                count -= 1
            extra[axis + 2] = max(0, (count - 1) * stride[axis] + reach - size[axis] - pads[axis])
        out.append(count)
    return Window(
        (kernel[0], kernel[1]), (stride[0], stride[1]), (dilation[0], dilation[1]),
        (pads[0], pads[1], pads[2], pads[3]), (out[0], out[1]),
        (extra[0], extra[1], extra[2], extra[3]),
    )  # fmt: skip


def _same(
    size: tuple[int, int], kernel: list[int], stride: list[int], dilation: list[int], *, lower: bool
) -> list[int]:
    pads = [0, 0, 0, 0]
    for axis in (0, 1):
        count = -(-size[axis] // stride[axis])
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        total = max(0, (count - 1) * stride[axis] + reach - size[axis])
        small = total // 2
        pads[axis], pads[axis + 2] = (total - small, small) if lower else (small, total - small)
    return pads


def add_pads(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Sum of two paddings (top, left, bottom, right)."""
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3])
