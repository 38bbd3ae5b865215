"""What a layer loses without some of its weights if the others make up for it as well as they can.

With S the second central moments of a filter's inputs, taking away the weights w_r makes an error
of w_r ((S^-1)_rr)^-1 w_r in the filter's sums, and the others become
w - w_r ((S^-1)_rr)^-1 (S^-1)_r: Hassibi and Stork, "Optimal Brain Surgeon" (NIPS 1992), on the
output of one layer, as Frantar and Alistarh, "Optimal Brain Compression" (arXiv 2208.11580). S
holds blocks of whole channels; what lies between blocks counts as independent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fpga_gen.quant import weights
from fpga_gen.quant.calibrate import LayerMoments

DAMPING = 0.01  # share of the mean diagonal of S
FEW = 0.1  # times the weights of a block for each sample, on top: what few samples say is chance
LEAST = 256  # weights of a block, whatever number of samples there is; else half of that
AT_ONCE = 24  # of so many slots that are left one goes before the others are looked at again


def damped(moments: np.ndarray, count: int) -> np.ndarray:
    """Second moments (k, k) of `count` samples, with more on their diagonal."""
    return weights.damped(moments[None], DAMPING + FEW * len(moments) / max(1, count))[0]


@dataclass(eq=False)
class _Block:
    """Columns of a layer's weights that a group of filters has, and the inverse of the second
    moments of their inputs; of those that were taken away rows and columns are 0."""

    columns: np.ndarray
    inverse: np.ndarray

    def take(self, weight: np.ndarray, place: np.ndarray) -> np.ndarray:
        """(f,) error power of filters (f, K) without the columns at `place`, which become zero in
        them while the others make up for it."""
        part = self.inverse[place]
        w = weight[:, self.columns[place]]
        solved = np.linalg.solve(part[:, place], w.T).T  # (f, r)
        own = weight[:, self.columns]
        weight[:, self.columns] = np.where(own != 0, own - solved @ part, 0)
        weight[:, self.columns[place]] = 0
        self.inverse -= part.T @ np.linalg.solve(part[:, place], part)
        self.inverse[place], self.inverse[:, place] = 0, 0
        return np.einsum("fr,fr->f", w, solved)


class Curvature:
    """The second moments of one layer of a term without groups."""

    def __init__(self, layer: LayerMoments) -> None:
        self.blocks: list[tuple[np.ndarray, np.ndarray]] = []  # columns, damped moments
        size = max(LEAST, layer.count // 2)
        for batch in layer.batches:
            (moments,) = layer.covariance(batch).astype(np.float64)
            for at in range(0, len(moments), size):
                part = slice(at, at + size)
                own = damped(moments[part, part], layer.count)
                self.blocks.append((batch.columns[0][part], own))

    def order(
        self, weight: np.ndarray, slots: Sequence[np.ndarray], gain: np.ndarray
    ) -> Iterator[tuple[list[int], float, np.ndarray]]:
        """Slots in the order in which they go, the one that costs least first: (some of them, what
        they cost together, the weights after it).

        weight: (f, K) of filters with zeros in the same columns; slots: columns of each; gain:
        (f,), what an error of a filter costs. What is zero stays so.
        """
        weight, count = weight.astype(np.float64), weight.shape[1]
        blocks = list(self._live(weight))
        places = [_places(block.columns, count) for block in blocks]
        inside = [[p[slot][p[slot] >= 0] for slot in slots] for p in places]
        left = list(range(len(slots)))
        while left:
            costs = sum(
                _costs(b, weight, [own[n] for n in left], gain)
                for b, own in zip(blocks, inside, strict=True)
            )
            some = np.argsort(costs)[: max(1, len(left) // AT_ONCE)]
            gone = [left[n] for n in some]
            cost = 0.0
            for block, own in zip(blocks, inside, strict=True):
                place = np.concatenate([own[n] for n in gone])
                if place.size:
                    cost += float(block.take(weight, place) @ gain)
            yield gone, cost, weight.copy()
            left = [n for n in left if n not in gone]

    def _live(self, weight: np.ndarray) -> Iterator[_Block]:
        """Every block as far as its columns have weights."""
        for columns, moments in self.blocks:
            live = weight[:, columns].any(0)
            if live.any():
                yield _Block(columns[live], np.linalg.inv(moments[np.ix_(live, live)]))


def _costs(
    block: _Block, weight: np.ndarray, places: Sequence[np.ndarray], gain: np.ndarray
) -> np.ndarray:
    """(slots,) what each costs alone."""
    costs = np.zeros(len(places))
    by_size: dict[int, list[int]] = {}
    for number, place in enumerate(places):
        by_size.setdefault(len(place), []).append(number)
    by_size.pop(0, None)
    for numbers in by_size.values():
        picked = np.stack([places[n] for n in numbers])  # (n, r)
        part = block.inverse[picked[:, :, None], picked[:, None, :]]
        w = weight[:, block.columns[picked]].swapaxes(0, 1)  # (n, f, r)
        solved = np.linalg.solve(part, w.swapaxes(1, 2)).swapaxes(1, 2)
        costs[numbers] = np.einsum("nfr,nfr->nf", w, solved) @ gain
    return costs


def _places(columns: np.ndarray, count: int) -> np.ndarray:
    """(count,) place of every column among `columns`; -1: it is none of them."""
    out = np.full(count, -1)
    out[columns] = np.arange(len(columns))
    return out
