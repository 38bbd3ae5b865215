"""A labelled folder: pictures and their ground-truth masks, matched by the stem of the name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fpga_gen.images import PictureError, Preprocess, find_pictures
from fpga_gen_host.picture_file import ALPHA, EIGHT_BIT, PictureFileError, opened, to_rgb
from fpga_gen_host.pictures import letterbox_box

THRESHOLD = 127  # of an 8-bit mask: foreground lies above
ASPECT_TOLERANCE = 0.02


@dataclass(frozen=True)
class Pair:
    """One picture and its mask."""

    image: Path
    mask: Path

    @property
    def name(self) -> str:
        return self.image.name


@dataclass(frozen=True)
class Pairs:
    """pairs: by name of the picture; unlabelled: names of the pictures that have no mask."""

    pairs: tuple[Pair, ...]
    unlabelled: tuple[str, ...]


def find_pairs(images: Path, masks: Path, only: Path | None = None) -> Pairs:
    """Matches the pictures of two folders by stem; PictureError if nothing can be matched.

    only: text file with the names of the pictures to take, one a line; None: all.
    """
    if images.is_dir() and masks.is_dir() and images.samefile(masks):
        raise PictureError(f"{images}: --images and --masks are the same folder")
    pictures, labels = _by_stem(images, "--images"), _by_stem(masks, "--masks")
    if only is not None:
        pictures = _named(pictures, only, images)
    found = tuple(Pair(path, labels[stem]) for stem, path in pictures.items() if stem in labels)
    if not found:
        example = next(iter(pictures.values())).name
        raise PictureError(
            f"{masks}: no mask belongs to a picture of {images}: a mask has the picture's name, "
            f"such as {Path(example).stem}.png for {example}"
        )
    missing = tuple(path.name for stem, path in pictures.items() if stem not in labels)
    return Pairs(found, missing)


def _by_stem(folder: Path, option: str) -> dict[str, Path]:
    if folder.is_file():
        raise PictureError(f"{folder} is a file: {option} takes a folder")
    found: dict[str, Path] = {}
    for path in find_pictures(folder):
        if path.suffix.lower() == ".npy":
            raise PictureError(f"{path}: an array: {option} takes pictures alone, move it away")
        if path.stem in found:
            raise PictureError(
                f"{folder}: {found[path.stem].name} and {path.name} have one stem: remove one"
            )
        found[path.stem] = path
    return found


def _named(pictures: dict[str, Path], only: Path, images: Path) -> dict[str, Path]:
    """The pictures that a file names; names of other folders of the same data are no fault."""
    try:
        names = {line.strip() for line in only.read_text("utf-8").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise PictureError(f"{only}: no list of names: {error}") from error
    found = {stem: path for stem, path in pictures.items() if path.name in names}
    if not found:
        raise PictureError(f"{only}: names no picture of {images}")
    return found


def read_grey(path: Path) -> np.ndarray:
    """uint8 (height, width) luminance of an 8-bit picture, upright; PictureError if it is none.

    Masks of more bits are refused: they hold labels as often as shades of grey.
    """
    try:
        with opened(path) as picture:
            if picture.mode not in (*EIGHT_BIT, *ALPHA):
                raise PictureFileError(
                    f"a mask is an 8-bit picture with the foreground above {THRESHOLD}, this one "
                    f"has mode {picture.mode}"
                )
            return np.asarray(Image.fromarray(to_rgb(picture)).convert("L"))
    except (PictureFileError, FileNotFoundError) as error:
        raise PictureError(f"{path}: {error}") from error


def check_aspect(pair: Pair, picture: tuple[int, int], mask: tuple[int, int]) -> None:
    """PictureError unless the (height, width) of both have the same ratio."""
    ratio = (picture[0] * mask[1]) / (picture[1] * mask[0])
    if abs(ratio - 1) > ASPECT_TOLERANCE:
        raise PictureError(
            f"{pair.mask}: {mask[1]} x {mask[0]} pixels, but {pair.name} has {picture[1]} x "
            f"{picture[0]}: not the mask of this picture"
        )


def truth_at(
    mask: np.ndarray,
    size: tuple[int, int],
    picture_size: tuple[int, int],
    preprocess: Preprocess,
) -> np.ndarray:
    """Ground truth bool, by nearest neighbour, at the network's output size (H, W).

    With a letterbox it covers the part of the output that belongs to the picture, as
    `fpga_gen_host.pictures.uncover` does for predictions.
    """
    height, width = size
    if preprocess.fit == "letterbox":
        _, _, height, width = letterbox_box(picture_size, size)
    return resize_nearest(mask, height, width)


def resize_nearest(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool (height, width) of a bool mask."""
    image = Image.fromarray(np.asarray(mask, bool).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.NEAREST)) > 0
