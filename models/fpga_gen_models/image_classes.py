"""Labelled pictures for classification: reading, random crops, deterministic order."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fpga_gen_models.data import SUFFIXES, open_picture


@dataclass(frozen=True)
class LabelledImage:
    """A picture file and its class index."""

    path: Path
    label: int


def find_labelled(folder: str | Path) -> list[LabelledImage]:
    """Pictures of a folder with `labels.csv` (columns file, index) or one sub-folder per class.

    Sub-folders are numbered in sorted order (ImageNet's usual layout). Raises ValueError if there
    are no pictures.
    """
    folder = Path(folder)
    table = folder / "labels.csv"
    if table.exists():
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = [LabelledImage(folder / row["file"], int(row["index"])) for row in rows]
    else:
        classes = sorted(p for p in folder.glob("*") if p.is_dir())
        found = [
            LabelledImage(path, label)
            for label, sub_folder in enumerate(classes)
            for path in sorted(sub_folder.rglob("*"))
            if path.suffix.lower() in SUFFIXES
        ]
    if not found:
        raise ValueError(f"{folder}: no labels.csv and no class folders with pictures")
    return found


def _as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)


def random_crop(image: Image.Image, size: int, generator: torch.Generator) -> Tensor:
    """Random-sized crop (20 to 100 % of the area, aspect 3:4 to 4:3) and flip: uint8 [3, S, S]."""
    width, height = image.size
    area, ratio, left, top, flip = torch.rand(5, generator=generator).tolist()
    pixels = width * height * (0.2 + 0.8 * area)
    aspect = math.exp((2 * ratio - 1) * math.log(4 / 3))
    w = min(width, math.sqrt(pixels * aspect))
    h = min(height, math.sqrt(pixels / aspect))
    x, y = left * (width - w), top * (height - h)
    crop = image.resize((size, size), Image.Resampling.BILINEAR, box=(x, y, x + w, y + h))
    if flip < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _as_tensor(crop)


def centre_crop(image: Image.Image, size: int) -> Tensor:
    """The central 7/8 of the shorter side, resized: uint8 [3, S, S]."""
    width, height = image.size
    side = min(width, height) * 0.875
    x, y = (width - side) / 2, (height - side) / 2
    box = (x, y, x + side, y + side)
    return _as_tensor(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


class _TrainingSamples(Dataset[tuple[Tensor, int]]):
    """Picture by (sample number, index); the sample number seeds its crop."""

    def __init__(self, items: list[LabelledImage], size: int, seed: int) -> None:
        self.items, self.size, self.seed = items, size, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        number, index = key
        generator = torch.Generator().manual_seed(self.seed * 5_000_011 + number)
        image = open_picture(self.items[index].path)
        return random_crop(image, self.size, generator), self.items[index].label


def _sample_keys(count: int, first: int, seed: int) -> Iterator[tuple[int, int]]:
    """(sample number, index) from sample number `first` on, without end."""
    epoch, position = divmod(first, count)
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(count, generator=generator).tolist()
        for offset in range(position, count):
            yield epoch * count + offset, order[offset]
        epoch, position = epoch + 1, 0


def training_batches(
    items: list[LabelledImage], size: int, batch: int, first_step: int, seed: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (uint8 [batch, 3, size, size], int64 [batch]), the same for any number of workers.

    Starts with the batch of step `first_step`, so that a resumed run goes on where it was.
    """
    keys = _sample_keys(len(items), first_step * batch, seed)
    samples = _TrainingSamples(items, size, seed)
    loader = DataLoader(samples, batch_size=batch, sampler=keys, num_workers=workers)  # type: ignore[arg-type]
    return iter(loader)


def validation_batches(
    items: list[LabelledImage], size: int, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Centre crops of all `items`, in order."""
    for start in range(0, len(items), batch):
        crops = [
            centre_crop(open_picture(item.path), size) for item in items[start : start + batch]
        ]
        labels = [item.label for item in items[start : start + batch]]
        yield torch.stack(crops), torch.tensor(labels)
