"""Folders of pictures and masks, and a split of them that depends on file names alone.

A data set is a folder with `images/` and `masks/` holding files of equal stem. Which pictures are
for validation is decided by a hash of a group name, so that adding files moves none of the others.
A group is one picture, or, for video frames, the whole sequence: neighbouring frames are nearly
equal, and a split between them would measure memory.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fpga_gen.images import read_picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
#: a mask pixel above this is foreground (masks may be JPEG files)
MASK_THRESHOLD = 127

#: CVC-ClinicDB: number of the first frame of each sequence. The frames 1..612 are numbered through
#: its 29 sequences (Bernal et al., Computerized Medical Imaging and Graphics 43, 2015); the cuts
#: are visible as jumps between consecutive frames.
CLINICDB_SEQUENCES = (1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298, 318)
CLINICDB_SEQUENCES += (343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592)


@dataclass(frozen=True)
class DatasetPair:
    """A picture and its mask. group: unit that is never divided by the split; training_only: is
    never held out."""

    dataset: str
    image: Path
    mask: Path
    group: str
    training_only: bool = False


def group_name(dataset: str, stem: str) -> str:
    """The group of a file: its sequence in CVC-ClinicDB, otherwise the file itself."""
    if "clinicdb" in dataset.lower() and stem.isdecimal():
        return f"{dataset}/sequence-{bisect_right(CLINICDB_SEQUENCES, int(stem)):02d}"
    return f"{dataset}/{stem}"


def find_pairs(folder: str | Path) -> list[DatasetPair]:
    """All pairs of one data set folder, sorted by stem.

    Raises ValueError if the folder holds no pictures or if a picture or a mask has no partner.
    """
    folder = Path(folder)
    found: list[dict[str, Path]] = []
    for part in ("images", "masks"):
        files = sorted(p for p in (folder / part).glob("*") if p.suffix.lower() in SUFFIXES)
        found.append({p.stem: p for p in files})
    images, masks = found
    if not images:
        raise ValueError(f"{folder}: no pictures in images/ ({', '.join(SUFFIXES)})")
    if images.keys() != masks.keys():
        odd = sorted(images.keys() ^ masks.keys())
        raise ValueError(f"{folder}: without picture or without mask: {', '.join(odd[:10])}")
    name = folder.resolve().name
    return [DatasetPair(name, images[s], masks[s], group_name(name, s)) for s in sorted(images)]


def hash_fraction(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone: the first 64 bits of its SHA-256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def split_pairs(
    pairs: Iterable[DatasetPair], validation: float = 0.1, salt: str = ""
) -> tuple[list[DatasetPair], list[DatasetPair]]:
    """(training, validation): whole groups, about the fraction `validation` of each data set; where
    chance would hold out none of a few pictures, as many of those that come next.

    salt: another value gives another split.
    """
    pairs = list(pairs)
    places = {p.group: hash_fraction(salt + p.group) for p in pairs if not p.training_only}
    limit = validation
    if validation > 0 and len(places) > 1 and min(places.values()) >= validation:
        count = max(1, round(validation * len(places)))
        limit = sorted(places.values())[min(count, len(places) - 1)]
    training: list[DatasetPair] = []
    held_out: list[DatasetPair] = []
    for pair in pairs:
        chosen = not pair.training_only and places[pair.group] < limit
        (held_out if chosen else training).append(pair)
    return training, held_out


def spread_subset(pairs: Sequence[DatasetPair], count: int) -> list[DatasetPair]:
    """At most `count` of `pairs`, evenly spaced."""
    if len(pairs) <= count:
        return list(pairs)
    return [pairs[i * len(pairs) // count] for i in range(count)]


def open_picture(path: Path) -> Image.Image:
    """A picture as RGB, as the accelerator's driver reads it; PictureError if it is refused."""
    return Image.fromarray(read_picture(path))


def read_pair(pair: DatasetPair, size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(picture [H, W, 3], mask [H, W] of 0 and 1), uint8; size: bilinear resize to size x size."""
    image = open_picture(pair.image)
    with Image.open(pair.mask) as file:
        mask = file.convert("L")
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
        mask = mask.resize((size, size), Image.Resampling.BILINEAR)
    elif image.size != mask.size:
        raise ValueError(f"{pair.image}: {image.size}, but its mask is {mask.size}")
    return np.asarray(image), (np.asarray(mask) > MASK_THRESHOLD).astype(np.uint8)


@dataclass(frozen=True)
class CachedPairs:
    """Decoded pairs in memory. images: uint8 [N, 3, S, S]; masks: uint8 [N, 1, S, S] of 0 and 1."""

    pairs: tuple[DatasetPair, ...]
    images: Tensor
    masks: Tensor

    @classmethod
    def load(cls, pairs: Sequence[DatasetPair], size: int) -> "CachedPairs":
        """Reads all `pairs` at size x size pixels (4 * size^2 bytes each)."""
        images = torch.empty(len(pairs), 3, size, size, dtype=torch.uint8)
        masks = torch.empty(len(pairs), 1, size, size, dtype=torch.uint8)
        for i, pair in enumerate(pairs):
            image, mask = read_pair(pair, size)
            images[i] = torch.from_numpy(image.copy()).permute(2, 0, 1)
            masks[i, 0] = torch.from_numpy(mask)
        return cls(tuple(pairs), images, masks)

    def __len__(self) -> int:
        return len(self.pairs)


def sample_indices(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Indices of training batch number `step`: a new permutation of 0..count-1 every epoch.

    A pure function of its arguments, so that a resumed run goes on with the batch it would have
    had. Batches run across the end of an epoch.
    """
    indices = []
    orders: dict[int, list[int]] = {}
    for sample in range(step * batch, (step + 1) * batch):
        epoch, position = divmod(sample, count)
        if epoch not in orders:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            orders[epoch] = torch.randperm(count, generator=generator).tolist()
        indices.append(orders[epoch][position])
    return indices
