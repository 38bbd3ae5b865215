"""Pictures in and out: reading, fitting to the model's input, normalising, mask overlay."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fpga_gen.disk import replace_file
from fpga_gen.errors import FpgaGenError
from fpga_gen_host.picture_file import PictureFileError, read_rgb

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")
FITS = ("stretch", "letterbox")
LETTERBOX_GREY = 114  # fill value customary since YOLOv5
OVERLAY = np.array((40.0, 220.0, 90.0))
NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # name -> (mean, standard deviation) of RGB / 255
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "raw": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


class PictureError(FpgaGenError):
    """A picture or a folder of pictures cannot be used."""


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the model's input: real = (value / 255 - mean) / std.

    normalise: key of `NORMALISATIONS`; fit: 'stretch' resizes both axes on their own,
    'letterbox' keeps the aspect ratio and fills the rest with grey.
    """

    normalise: str = "imagenet"
    fit: str = "stretch"

    def __post_init__(self) -> None:
        if self.normalise not in NORMALISATIONS:
            raise PictureError(f"normalisation must be one of {', '.join(NORMALISATIONS)}")
        if self.fit not in FITS:
            raise PictureError(f"fit must be one of {', '.join(FITS)}")

    def to_dict(self) -> dict:
        mean, std = NORMALISATIONS[self.normalise]
        return {**asdict(self), "mean": list(mean), "std": list(std), "grey": LETTERBOX_GREY}

    @staticmethod
    def from_dict(data: dict) -> Preprocess:
        return Preprocess(data["normalise"], data["fit"])


def read_picture(path: Path) -> np.ndarray:
    """uint8 (height, width, 3) RGB, upright; see `fpga_gen_host.picture_file`.

    Raises:
        PictureError: it is refused or damaged.
    """
    if path.is_dir():
        raise PictureError(f"{path} is a folder: name one picture")
    try:
        return read_rgb(path)
    except FileNotFoundError as error:
        raise PictureError(f"{path}: no such file") from error
    except PictureFileError as error:
        raise PictureError(f"{path}: {error}") from error


def letterbox_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a picture of `size` (h, w) inside `target` (h, w)."""
    scale = min(target[0] / size[0], target[1] / size[1])
    height = min(target[0], max(1, round(size[0] * scale)))
    width = min(target[1], max(1, round(size[1] * scale)))
    return (target[0] - height) // 2, (target[1] - width) // 2, height, width


def _resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(picture)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def prepare(
    picture: np.ndarray, shape: tuple[int, int, int], preprocess: Preprocess = Preprocess()
) -> np.ndarray:
    """Model input float32 (C, H, W) of an RGB picture; C is 3, or 1 for luminance."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise PictureError(
            f"the model's input has {channels} channels, a picture has 3: give a .npy file "
            f"of shape {tuple(shape)}"
        )
    if preprocess.fit == "letterbox":
        top, left, inner_h, inner_w = letterbox_box(
            (picture.shape[0], picture.shape[1]), (height, width)
        )
        fitted = np.full((height, width, 3), LETTERBOX_GREY, np.uint8)
        inner = _resize(picture, inner_h, inner_w)
        fitted[top : top + inner_h, left : left + inner_w] = inner
    else:
        fitted = _resize(picture, height, width)
    if channels == 1:
        fitted = np.asarray(Image.fromarray(fitted).convert("L"))[..., None]
    mean, std = (np.array(v[:channels]) for v in NORMALISATIONS[preprocess.normalise])
    return ((fitted / 255.0 - mean) / std).astype(np.float32).transpose(2, 0, 1).copy()


def read_input(path: Path, shape: tuple[int, int, int], preprocess: Preprocess) -> np.ndarray:
    """Model input float32 of `shape` from a picture, or from a .npy array taken as it is."""
    if path.suffix.lower() != ".npy":
        return prepare(read_picture(path), shape, preprocess)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PictureError(f"{path}: not a readable .npy array: {error}") from error
    if array.shape != tuple(shape) or array.dtype.kind not in "fiu":
        raise PictureError(
            f"{path}: array {array.dtype} {array.shape}, the model takes real numbers of shape "
            f"{tuple(shape)}"
        )
    if not np.isfinite(array).all():
        raise PictureError(f"{path}: the array holds values that are not finite")
    return array.astype(np.float32)


def find_pictures(path: Path) -> list[Path]:
    """The picture itself, or all pictures of a folder (not of its sub-folders) by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise PictureError(f"{path}: no such file or folder")
    found = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in SUFFIXES)
    if not found:
        raise PictureError(
            f"{path}: no pictures in this folder; put some there ({', '.join(SUFFIXES)})"
        )
    return found


def spread(paths: list[Path], count: int) -> list[Path]:
    """At most `count` of the paths, evenly spread over the list, in its order."""
    if len(paths) <= count:
        return list(paths)
    return [paths[i * len(paths) // count] for i in range(count)]


def uncover_letterbox(
    mask: np.ndarray, size: tuple[int, int], preprocess: Preprocess
) -> np.ndarray:
    """The part of a mask (h, w) that belongs to the picture of `size`, without the bars."""
    if preprocess.fit != "letterbox":
        return mask
    top, left, height, width = letterbox_box(size, (mask.shape[0], mask.shape[1]))
    return mask[top : top + height, left : left + width]


def overlay_mask(
    picture: np.ndarray, mask: np.ndarray, preprocess: Preprocess = Preprocess()
) -> np.ndarray:
    """uint8 (height, width, 3): the picture with the mask (h, w of the model) tinted and outlined
    at the picture's own resolution."""
    height, width = picture.shape[:2]
    inner = uncover_letterbox(np.asarray(mask, bool), (height, width), preprocess)
    full = _resize(inner.astype(np.uint8) * 255, height, width) > 127
    padded = np.pad(full, 1, mode="edge")
    same = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    out = picture.astype(np.float64)
    out[full] = 0.6 * out[full] + 0.4 * OVERLAY
    out[full & ~same] = OVERLAY
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes a uint8 picture (h, w, 3) or (h, w) as PNG; PictureError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda stream: Image.fromarray(picture).save(stream, format="PNG"))
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error}") from error
