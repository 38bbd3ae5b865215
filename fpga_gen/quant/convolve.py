"""Memory-friendly im2col convolution, shared by the integer interpreter and the calibration.

The matrix product runs in BLAS. With integer operands it is exact whenever every partial sum
stays below 2^24 (float32) or 2^53 (float64), whatever the order of summation; `exact_dtype`
picks the smaller type that provably is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHUNK_BYTES = 1 << 20  # im2col columns of one chunk stay in the level-2 cache


def out_size(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Output length of one axis (ONNX Conv and MaxPool semantics, floor)."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def pad_map(
    segments: list[np.ndarray], pads: tuple[int, int, int, int], dtype: np.dtype, fill: float = 0
) -> np.ndarray:
    """Concatenate (C_i, H, W) segments and pad: (sum C_i, top + H + bottom, left + W + right); a
    side with negative padding is cropped."""
    if min(pads) < 0:
        top, left, bottom, right = (max(0, -p) for p in pads)
        _, height, width = segments[0].shape
        segments = [s[:, top : height - bottom, left : width - right] for s in segments]
    top, left, bottom, right = (max(0, p) for p in pads)
    _, height, width = segments[0].shape
    channels = sum(s.shape[0] for s in segments)
    out = np.full((channels, height + top + bottom, width + left + right), fill, dtype)
    base = 0
    for segment in segments:
        out[base : base + segment.shape[0], top : top + height, left : left + width] = segment
        base += segment.shape[0]
    return out


def column_chunks(
    padded: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, int],
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (first row, end row, columns (kh*kw*C, rows*OW)) over the output rows.

    The columns are only valid until the next step. Order of the first axis: tap row, tap
    column, channel.
    """
    channels = padded.shape[0]
    kh, kw = kernel
    height, width = size
    if kh == kw == 1 and stride == (1, 1) and padded.shape[1:] == size:
        yield 0, height, padded.reshape(channels, height * width)
        return
    depth = kh * kw * channels
    rows = max(1, min(height, CHUNK_BYTES // (padded.itemsize * depth * width)))
    buffer = np.empty(depth * rows * width, padded.dtype)
    for first in range(0, height, rows):
        end = min(height, first + rows)
        cols = buffer[: depth * (end - first) * width].reshape(kh, kw, channels, end - first, width)
        for dy in range(kh):
            y = first * stride[0] + dy * dilation[0]
            for dx in range(kw):
                x = dx * dilation[1]
                cols[dy, dx] = padded[
                    :,
                    y : y + (end - first - 1) * stride[0] + 1 : stride[0],
                    x : x + (width - 1) * stride[1] + 1 : stride[1],
                ]
        yield first, end, cols.reshape(depth, -1)


def exact_dtype(weight: np.ndarray, bound: float) -> np.dtype:
    """float32 if sum |w| * bound < 2^24 for every filter, else float64 (asserted below 2^53)."""
    worst = float(
        np.abs(weight.astype(np.int64)).reshape(weight.shape[0], -1).sum(1).max(initial=0)
    )
    if worst * bound < 2**24:
        return np.dtype(np.float32)
    assert worst * bound < 2**53, "accumulator is far beyond 32 bits"
    return np.dtype(np.float64)


def convolve(
    padded: np.ndarray,
    weight: np.ndarray,
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> np.ndarray:
    """Dense convolution of a padded map (C, H, W) with weight (F, C, kh, kw), in padded's dtype.

    Returns (F, OH, OW).
    """
    filters, _, kh, kw = weight.shape
    size = (
        out_size(padded.shape[1], kh, stride[0], 0, 0, dilation[0]),
        out_size(padded.shape[2], kw, stride[1], 0, 0, dilation[1]),
    )
    matrix = np.ascontiguousarray(weight.transpose(0, 2, 3, 1).reshape(filters, -1), padded.dtype)
    out = np.empty((filters, *size), padded.dtype)
    for first, end, cols in column_chunks(padded, (kh, kw), stride, dilation, size):
        out[:, first:end] = (matrix @ cols).reshape(filters, end - first, size[1])
    return out
