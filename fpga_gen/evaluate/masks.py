"""Masks of one picture from float, integer and RTL runs, and what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fpga_gen.errors import FpgaGenError
from fpga_gen.evaluate.dataset import Pair
from fpga_gen.images import Preprocess
from fpga_gen.quant.interpreter import dequantise
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.report.accuracy import KIND_OF_SOURCE, MaskScores, TensorSqnr
from fpga_gen_host.host_ops import ancestors, mask_threshold, run_host_ops
from fpga_gen_host.pictures import uncover
from fpga_gen_models.metrics import MaskMetrics, mask_metrics, mean_metrics


@dataclass(frozen=True, eq=False)
class PackedMask:
    """A bool mask, eight pixels to the byte: a large folder has many of them."""

    shape: tuple[int, int]
    data: np.ndarray

    @staticmethod
    def of(mask: np.ndarray) -> PackedMask:
        return PackedMask((mask.shape[0], mask.shape[1]), np.packbits(mask))

    def get(self) -> np.ndarray:
        """bool (height, width)."""
        count = self.shape[0] * self.shape[1]
        return np.unpackbits(self.data, count=count).astype(bool).reshape(self.shape)


@dataclass
class Sample:
    """One labelled picture. picture_size: its own (height, width); masks: predictions by source;
    mismatch: first difference of RTL and integer reference; cycles: of the simulated frame."""

    pair: Pair
    picture_size: tuple[int, int]
    truth: PackedMask
    masks: dict[str, PackedMask] = field(default_factory=dict)
    metrics: dict[str, MaskMetrics] = field(default_factory=dict)
    mismatch: str | None = None
    cycles: int | None = None

    def add(self, source: str, mask: np.ndarray) -> None:
        """Keeps a prediction (bool, of the truth's shape) and scores it."""
        self.masks[source] = PackedMask.of(mask)
        self.metrics[source] = mask_metrics(mask, self.truth.get())

    def agreement(self, first: str, second: str) -> float | None:
        """Share of pixels that two sources agree on; None if one is missing or both are one."""
        if first == second or first not in self.masks or second not in self.masks:
            return None
        return float(np.mean(self.masks[first].get() == self.masks[second].get()))


class SqnrSums:
    """Signal and noise power of every tensor, summed over pictures."""

    def __init__(self, qgraph: QuantGraph) -> None:
        self.qgraph = qgraph
        self.signal = dict.fromkeys(qgraph.tensors, 0.0)
        self.noise = dict.fromkeys(qgraph.tensors, 0.0)

    def add(self, reference: dict[str, np.ndarray], stored: dict[str, np.ndarray]) -> None:
        """One picture: float maps and stored integer maps by tensor."""
        for name in self.qgraph.tensors:
            real = reference[name].astype(np.float64)
            self.signal[name] += float(np.square(real).sum())
            error = real - dequantise(self.qgraph, name, stored[name])
            self.noise[name] += float(np.square(error).sum())

    def tensors(self) -> tuple[TensorSqnr, ...]:
        """All tensors, the lowest SQNR first, exact ones last."""
        layers = {n.output: n.name for n in self.qgraph.nodes}
        facts = [
            TensorSqnr(name, layers.get(name, "input"), t.format.name, self._decibel(name))
            for name, t in self.qgraph.tensors.items()
        ]
        return tuple(sorted(facts, key=lambda f: np.inf if f.sqnr_db is None else f.sqnr_db))

    def _decibel(self, name: str) -> float | None:
        if self.noise[name] == 0.0:
            return None
        return 10 * float(np.log10(max(self.signal[name], 1e-300) / self.noise[name]))


def output_size(qgraph: QuantGraph) -> tuple[int, int]:
    """(H, W) of the first output after the host's operators; FpgaGenError if it is not a map of
    one channel, of which a mask can be made."""
    name, tensor = qgraph.output_names[0], qgraph.tensors[qgraph.outputs[0]]
    first = (qgraph.results or qgraph.outputs)[0]
    kinds = {op.kind for op in ancestors(qgraph, first)}
    zeros = {
        n: np.zeros((t.channels, t.height, t.width), np.float32)
        for n, t in ((o, qgraph.tensors[o]) for o in qgraph.outputs)
    }
    shape = run_host_ops(qgraph, zeros)[name].shape
    single = tensor.channels == 1 and len(shape) == 4 and shape[:2] == (1, 1)
    if not single or shape[2] * shape[3] == 1 or kinds & {"softmax", "argmax"}:
        raise FpgaGenError(
            f"evaluate compares masks: it needs a network whose first output is a one-channel "
            f"map, {name!r} has shape {tuple(shape)} from {tensor.channels} channels"
        )
    return shape[2], shape[3]


def mask_of(
    qgraph: QuantGraph,
    results: dict[str, np.ndarray],
    picture_size: tuple[int, int],
    preprocess: Preprocess,
) -> np.ndarray:
    """bool mask of the model's results by output name, after the host's operators: where
    sigmoid(logit) > 0.5. The bars of a letterbox are cut off."""
    mask = results[qgraph.output_names[0]][0, 0] > mask_threshold(qgraph)
    return uncover(mask, picture_size, preprocess.preparation)


def mean_scores(source: str, samples: Sequence[Sample]) -> MaskScores:
    """Means over samples that all hold a mask of `source`."""
    mean = mean_metrics(s.metrics[source] for s in samples)

    def agreement(other: str) -> float | None:
        values = [s.agreement(source, other) for s in samples]
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else None

    return MaskScores(
        source,
        KIND_OF_SOURCE[source],
        len(samples),
        mean.dice,
        mean.iou,
        mean.precision,
        mean.recall,
        agreement("float"),
        agreement("integer"),
    )


def by_dice(samples: Sequence[Sample]) -> list[Sample]:
    """Samples by Dice of the integer reference, the worst first; ties by name."""
    return sorted(samples, key=lambda s: (s.metrics["integer"].dice, s.pair.name))


def evenly(count: int, wanted: int) -> list[int]:
    """`wanted` (or all) of the ranks 0..count-1, evenly spaced, rank 0 always among them."""
    if wanted >= count:
        return list(range(count))
    if wanted <= 1:
        return [0][:wanted]
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]
