"""Calibration: histograms of every map and second moments of every convolution's inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fpga_gen.errors import QuantError
from fpga_gen.graph.interpreter import run_float, sums_of
from fpga_gen.graph.ir import Conv, Graph
from fpga_gen.quant.convolve import pad_map
from fpga_gen.quant.curves import SumSample
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.ranges import Histogram, curved_tensors, stored_tensors
from fpga_gen.quant.segments import sources_of
from fpga_gen_host.model_input import HostInput

MIN_SAMPLES = 1024


def synthetic_images(shape: tuple[int, int, int], n: int, seed: int) -> list[np.ndarray]:
    """n seeded float32 images (C, H, W), about zero mean and unit variance: smooth colour noise
    over several octaves with a few soft discs. For builds without calibration pictures."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    yy, xx = np.mgrid[0:height, 0:width]
    images = []
    for _ in range(n):
        image = np.zeros(shape)
        for octave in range(2, 8):
            cells = 2**octave
            coarse = rng.standard_normal((channels, cells + 1, cells + 1))
            coarse += rng.standard_normal((1, cells + 1, cells + 1))  # channels correlate
            image += _bilinear(coarse, height, width) / octave
        for _ in range(rng.integers(2, 6)):
            cy, cx = rng.uniform(0, height), rng.uniform(0, width)
            radius = rng.uniform(0.08, 0.3) * min(height, width) + 1
            distance = np.hypot(yy - cy, xx - cx)
            disc = 1 / (1 + np.exp(np.clip((distance - radius) / (0.05 * radius + 0.5), -50, 50)))
            image += disc * rng.uniform(-2, 2, (channels, 1, 1))
        image = (image - image.mean()) / (image.std() + 1e-9)
        images.append(image.astype(np.float32))
    return images


def as_picture(image: np.ndarray, host_input: HostInput) -> np.ndarray:
    """The nearest image (C, H, W) that a picture of 8-bit pixels can be; as it is if the host does
    not turn it into pixels."""
    if not host_input.gain:
        return image
    gain, offset = (np.array(v)[:, None, None] for v in (host_input.gain, host_input.offset))
    pixels = np.clip(np.rint(image * gain + offset), 0, 255)
    return ((pixels - offset) / gain).astype(np.float32)


def _bilinear(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate (C, n+1, n+1) to (C, height, width)."""
    n = coarse.shape[1] - 1
    y, x = np.linspace(0, n, height), np.linspace(0, n, width)
    y0, x0 = np.minimum(y.astype(int), n - 1), np.minimum(x.astype(int), n - 1)
    fy, fx = (y - y0)[:, None], x - x0
    rows = coarse[:, y0] * (1 - fy) + coarse[:, y0 + 1] * fy
    return rows[:, :, x0] * (1 - fx) + rows[:, :, x0 + 1] * fx


@dataclass(frozen=True, eq=False)
class BlockBatch:
    """B independent blocks of a layer's weight matrix (F, K) that are rounded jointly.

    filters: (B, f) rows; columns: (B, k) im2col columns; compact: (k,) the same columns in the
    compact weight matrix of `compact_weight`; second: (B, k, k) sum of x x^T.
    """

    filters: np.ndarray
    columns: np.ndarray
    compact: np.ndarray
    second: np.ndarray


@dataclass(eq=False)
class LayerMoments:
    """Moments of the im2col inputs of one Conv; columns run over terms, channels, taps."""

    batches: list[BlockBatch]
    total: np.ndarray
    square: np.ndarray
    count: int = 0

    @property
    def mean(self) -> np.ndarray:
        """(K,) mean of every column."""
        return self.total / max(1, self.count)

    @property
    def variance(self) -> np.ndarray:
        """(K,) variance of every column."""
        return np.maximum(self.square / max(1, self.count) - np.square(self.mean), 0.0)

    def covariance(self, batch: BlockBatch) -> np.ndarray:
        """(B, k, k) float32 second central moments of one batch of blocks; 0 of one sample."""
        if self.count == 1:  # else what float32 rounded off would be all that is left
            return np.zeros_like(batch.second)
        mean = self.mean[batch.columns]
        return (batch.second / max(1, self.count) - mean[:, :, None] * mean[:, None, :]).astype(
            np.float32
        )


@dataclass(frozen=True, eq=False)
class Calibration:
    """What calibration learnt: histograms by tensor, moments by Conv name; sums: what activations
    that are no clip get, by the tensor that they compute."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    moments: dict[str, LayerMoments] = field(default_factory=dict)
    sums: dict[str, SumSample] = field(default_factory=dict)


def compact_weight(node: Conv) -> tuple[np.ndarray, np.ndarray]:
    """Weight matrix of a layer without the zeros of groups, and the im2col columns it meets.

    Returns (weight (F, Kc), columns (1 or F, Kc)): entry k of filter f multiplies im2col column
    columns[f, k]; terms follow each other.
    """
    parts, columns, base = [], [], 0
    for term in node.terms:
        filters, per_group, kh, kw = term.weight.shape
        depth = per_group * kh * kw
        group = np.arange(filters) // (filters // term.groups)
        first = base + depth * (group if term.groups > 1 else np.zeros(1, np.int64))
        parts.append(term.weight.reshape(filters, -1))
        columns.append(first[:, None] + np.arange(depth))
        base += depth * term.groups
    rows = max(c.shape[0] for c in columns)
    columns = [np.broadcast_to(c, (rows, c.shape[1])) for c in columns]
    return np.concatenate(parts, 1), np.concatenate(columns, 1)


def dense_weight(weight: np.ndarray, groups: int) -> np.ndarray:
    """(F, C / groups, kh, kw) -> (F, C, kh, kw): groups resolved by zeros."""
    filters, per_group, kh, kw = weight.shape
    if groups == 1:
        return weight
    dense = np.zeros((filters, per_group * groups, kh, kw), weight.dtype)
    step = filters // groups
    for g in range(groups):
        rows = slice(g * step, (g + 1) * step)
        dense[rows, g * per_group : (g + 1) * per_group] = weight[rows]
    return dense


def _layer_blocks(node: Conv, block: int) -> list[BlockBatch]:
    """Split a layer's weight matrix: by term, by group, by whole channels up to `block` columns."""
    batches = []
    base = compact_base = 0
    for term in node.terms:
        filters, per_group, kh, kw = term.weight.shape
        taps, groups = kh * kw, term.groups
        rows = np.arange(filters).reshape(groups, -1)
        limit = max(1, block // taps)
        pieces = -(-per_group // limit)
        for part in np.array_split(np.arange(per_group), pieces):
            channels = np.arange(groups)[:, None] * per_group + part
            columns = base + (channels[:, :, None] * taps + np.arange(taps)).reshape(groups, -1)
            compact = compact_base + (part[:, None] * taps + np.arange(taps)).reshape(-1)
            second = np.zeros((groups, compact.size, compact.size), np.float32)
            batches.append(BlockBatch(rows, columns, compact, second))
        base += per_group * groups * taps
        compact_base += per_group * taps
    return batches


def sample_pixels(size: tuple[int, int], n: int, rng: np.random.Generator) -> np.ndarray:
    """At most n random pixels of a map, sorted, as y * width + x."""
    count = size[0] * size[1]
    return np.sort(rng.choice(count, min(n, count), replace=False))


def columns_at(
    node: Conv, sources: list[list[np.ndarray]], width: int, pixels: np.ndarray
) -> np.ndarray:
    """(K, n) im2col columns of the output pixels, float32. sources: the segments that each term
    reads; width: of the output."""
    oy, ox = np.divmod(pixels, width)
    parts = []
    for term, segments in zip(node.terms, sources, strict=True):
        _, _, kh, kw = term.weight.shape
        padded = pad_map(segments, term.pads, np.dtype(np.float32))
        flat = padded.reshape(padded.shape[0], -1)
        cols = np.empty((flat.shape[0], kh * kw, pixels.size), np.float32)
        for dy in range(kh):
            for dx in range(kw):
                y = oy * term.stride[0] + dy * term.dilation[0]
                x = ox * term.stride[1] + dx * term.dilation[1]
                cols[:, dy * kw + dx] = flat[:, y * padded.shape[2] + x]
        parts.append(cols.reshape(-1, pixels.size))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def calibrate(
    graph: Graph,
    images: Sequence[np.ndarray],
    *,
    seed: int = 0,
    options: QuantOptions = QuantOptions(),
    progress: Callable[[str], None] | None = None,
    ranges_only: bool = False,
) -> Calibration:
    """Run the float network over `images` ((C, H, W), model layout) and gather statistics.

    ranges_only: leave out the moments of the layers' inputs, which only weights need.
    """
    if not images:
        raise QuantError("no calibration images: pass at least one (or use synthetic_images)")
    rng = np.random.default_rng(seed)
    segments = sources_of(graph)
    convs = [] if ranges_only else [n for n in graph.nodes if isinstance(n, Conv)]
    histograms = {t: Histogram() for t in stored_tensors(graph)}
    samples = {name: SumSample() for name in curved_tensors(graph)}
    moments: dict[str, LayerMoments] = {}
    for node in convs:
        depth = sum(t.weight[0].size * t.groups for t in node.terms)
        moments[node.name] = LayerMoments(
            _layer_blocks(node, options.block) if options.compensate else [],
            np.zeros(depth),
            np.zeros(depth),
        )
    for number, image in enumerate(images):
        if progress:
            progress(f"calibrate image {number + 1} of {len(images)}")
        values = run_float(graph, np.asarray(image, np.float32))
        for name, histogram in histograms.items():
            if not np.isfinite(values[name]).all():
                raise QuantError(f"tensor '{name}' is not finite on calibration image {number}")
            histogram.add(values[name])
        for name, sample in samples.items():
            if not np.isfinite(values[sums_of(name)]).all():
                raise QuantError(
                    f"what the activation of '{name}' gets is not finite on calibration image "
                    f"{number}"
                )
            sample.add(values[sums_of(name)])
        for node in convs:
            layer = moments[node.name]
            out = graph.tensors[node.output]
            deepest = max((b.columns.shape[1] for b in layer.batches), default=0)
            needed = options.samples_per_weight * deepest + 256
            wanted = min(options.samples, max(MIN_SAMPLES, needed))
            sources = [[s.of(values[s.tensor]) for s in segments[t.input]] for t in node.terms]
            pixels = sample_pixels((out.height, out.width), -(-wanted // len(images)), rng)
            cols = columns_at(node, sources, out.width, pixels)
            layer.total += cols.sum(1, dtype=np.float64)
            layer.count += cols.shape[1]
            with np.errstate(over="ignore", invalid="ignore"):  # refused below
                layer.square += np.einsum("kn,kn->k", cols, cols)
                for batch in layer.batches:
                    picked = cols[batch.columns]
                    batch.second[...] += picked @ picked.transpose(0, 2, 1)
    for name, layer in moments.items():
        sums = (layer.square, *(batch.second for batch in layer.batches))
        if not all(np.isfinite(array).all() for array in sums):
            raise QuantError(
                f"layer '{name}': its inputs are so large that their squares overflow: scale the "
                "weights of the layers before it, or calibrate on other images"
            )
    return Calibration(histograms, moments, samples)
