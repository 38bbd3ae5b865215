"""The compiler's side of pictures: options of their preparation, files in and out, folders.

What is done to a picture is the runtime's, see `fpga_gen_host.pictures`.
"""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fpga_gen.disk import replace_file
from fpga_gen.errors import FpgaGenError
from fpga_gen_host.picture_file import PictureFileError, read_rgb
from fpga_gen_host.pictures import FITS, Preparation, model_input

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")
LETTERBOX_GREY = 114  # fill value customary since YOLOv5
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
    """How the user wants pictures prepared. normalise: key of `NORMALISATIONS`; fit: of `FITS`."""

    normalise: str = "imagenet"
    fit: str = "stretch"

    def __post_init__(self) -> None:
        if self.normalise not in NORMALISATIONS:
            raise PictureError(f"normalisation must be one of {', '.join(NORMALISATIONS)}")
        if self.fit not in FITS:
            raise PictureError(f"fit must be one of {', '.join(FITS)}")

    @property
    def preparation(self) -> Preparation:
        """What that means."""
        return Preparation(self.fit, *NORMALISATIONS[self.normalise], LETTERBOX_GREY)

    def to_dict(self) -> dict:
        how = self.preparation
        return {**asdict(self), "mean": list(how.mean), "std": list(how.std), "grey": how.grey}

    @staticmethod
    def from_dict(data: dict) -> Preprocess:
        return Preprocess(data["normalise"], data["fit"])


def read_picture(path: Path) -> np.ndarray:
    """uint8 (height, width, 3) RGB, upright; see `fpga_gen_host.picture_file`.

    Raises:
        PictureError: it is refused or damaged.
    """
    if os.path.isdir(path):  # False for a name that is too long, of which Path raises
        raise PictureError(f"{path} is a folder: name one picture")
    try:
        return read_rgb(path)
    except FileNotFoundError as error:
        raise PictureError(f"{path}: no such file") from error
    except PictureFileError as error:
        raise PictureError(f"{path}: {error}") from error


def prepare(
    picture: np.ndarray, shape: tuple[int, int, int], preprocess: Preprocess = Preprocess()
) -> np.ndarray:
    """Model input float32 (C, H, W) of an RGB picture; C is 3, or 1 for luminance."""
    channels = shape[0]
    if channels not in (1, 3):
        raise PictureError(
            f"the model's input has {channels} channels, a picture has 3: give a .npy file "
            f"of shape {tuple(shape)}"
        )
    return model_input(picture, shape, preprocess.preparation)


def read_input(path: Path, shape: tuple[int, int, int], preprocess: Preprocess) -> np.ndarray:
    """Model input float32 of `shape` from a picture, or from a .npy array taken as it is."""
    if path.suffix.lower() != ".npy":
        return prepare(read_picture(path), shape, preprocess)
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would be waited for
        raise PictureError(f"{path}: not a file")
    try:
        # Mapped, so that nothing larger than the file is made room for.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy takes other files for archives and pickles
        raise PictureError(f"{path}: not a readable .npy array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise PictureError(f"{path}: an archive, not one .npy array")
    return check_input(array, shape, str(path))


def check_input(array: np.ndarray, shape: tuple[int, int, int], source: str) -> np.ndarray:
    """Model input float32 of `shape` from an array that is one; source: what an error names."""
    if array.shape != tuple(shape) or array.dtype.kind not in "fiu":
        raise PictureError(
            f"{source}: array {array.dtype} {array.shape}, the model takes real numbers of shape "
            f"{tuple(shape)}"
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise PictureError(f"{source}: the array holds values that are not finite in float32")
    return values


def is_pixels(array: np.ndarray) -> bool:
    """Whether an array is an RGB picture: uint8 (h, w, 3)."""
    return array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3


def find_pictures(path: Path) -> list[Path]:
    """The picture itself, or all pictures of a folder (not of its sub-folders) by name."""
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
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


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """A uint8 picture (h, w, 3) whose sides are at most `side` pixels, itself if they are."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    return np.asarray(image)


def png_bytes(picture: np.ndarray) -> bytes:
    """A uint8 picture (h, w, 3) or (h, w) as PNG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return stream.getvalue()


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes a uint8 picture (h, w, 3) or (h, w) as PNG; PictureError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda stream: Image.fromarray(picture).save(stream, format="PNG"))
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error}") from error
