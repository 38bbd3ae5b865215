"""Picture files as 8-bit RGB, upright: every kind is converted as it is meant, or refused.

| file | becomes |
|---|---|
| 8-bit grey, palette, RGB, CMYK, YCbCr; 1 bit | RGB, as Pillow does it, without colour profiles |
| 16-bit grey (and 12-bit TIFF) | grey, white stays white: rounded to 8 bits |
| 16-bit colour | RGB, the high byte of each value, as Pillow reads it |
| EXIF orientation | applied |
| alpha channel or transparent colour, all opaque | dropped |
| the same with a pixel that is not opaque | refused: there is no right background |
| floating point, 32-bit integers, Lab | refused: nothing says what white is |
| more pixels than `PIL.Image.MAX_IMAGE_PIXELS` | refused by its header, before it is decoded |
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # no other decoder sees the file
EIGHT_BIT = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
ALPHA = {"LA": "RGBA", "PA": "RGBA", "RGBA": "RGBA", "RGBa": "RGBA"}  # mode -> straight alpha
SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
WIDE = ("PNG", "PPM")  # whose 16-bit grey some versions of Pillow hold as 32-bit integers
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF


class PictureFileError(ValueError):
    """The file is no picture that can be used; the text does not name the file."""


def read_rgb(path: Path | BinaryIO) -> np.ndarray:
    """uint8 (height, width, 3) of a picture file, of its first page if it has several; path: or
    the open file.

    Raises:
        FileNotFoundError: there is no such file.
        PictureFileError: it is refused, see above, or damaged.
    """
    with opened(path) as image:
        return to_rgb(image)


def read_pages(path: Path) -> Iterator[np.ndarray]:
    """Every page or frame of a picture file, see `read_rgb`."""
    with opened(path) as image:
        for page in ImageSequence.Iterator(image):
            _check_size(page)  # a TIFF's pages differ
            yield to_rgb(page)


def to_rgb(image: Image.Image) -> np.ndarray:
    """uint8 (height, width, 3) of an opened picture; PictureFileError if it is refused."""
    if image.mode in SIXTEEN_BIT or (image.mode == "I" and image.format in WIDE):
        return np.repeat(_sixteen_bit(image)[..., None], 3, axis=2)
    if image.mode not in EIGHT_BIT and image.mode not in ALPHA:
        raise PictureFileError(
            f"pixels of Pillow's mode {image.mode}: nothing says which value is white; save it "
            "with 8 or 16 bits a channel"
        )
    upright = _upright(image)
    if image.mode in ALPHA or "transparency" in image.info:
        straight = upright.convert("RGBA")
        _check_opaque(np.asarray(straight.getchannel("A")) == 255)
        return np.asarray(straight)[..., :3].copy()
    return np.asarray(upright.convert("RGB"))


def _upright(image: Image.Image) -> Image.Image:
    """The decoded picture as its EXIF block says; one that cannot be parsed says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.load()
        try:
            return ImageOps.exif_transpose(image)
        except Exception:
            return image


def _sixteen_bit(image: Image.Image) -> np.ndarray:
    """uint8 (height, width), rounded; white of the file is 255."""
    tags = getattr(image, "tag_v2", {})
    white = 4095 if tuple(tags.get(BITS_PER_SAMPLE, ())) == (12,) else 65535
    key = image.info.get("transparency")
    values = np.asarray(_upright(image)).astype(np.uint32)
    if key is not None:
        _check_opaque(values != key)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = white - values
    return ((values * 255 + white // 2) // white).astype(np.uint8)


def _check_opaque(opaque: np.ndarray) -> None:
    if not opaque.all():
        raise PictureFileError(
            f"{np.count_nonzero(~opaque)} of {opaque.size} pixels are transparent: put it on a "
            "background and save it without an alpha channel"
        )


@contextmanager
def opened(path: Path | BinaryIO) -> Iterator[Image.Image]:
    """The picture, its size checked, nothing decoded yet.

    Whatever Pillow raises inside the block becomes a PictureFileError: its decoders stumble over
    damaged files with errors of many types.
    """
    try:
        if isinstance(path, Path) and path.exists() and not path.is_file():
            raise PictureFileError("not a file")  # a pipe would be waited for
        # Not by name: Pillow maps such files, and mixes up rows and columns of rotated TIFFs then.
        with path.open("rb") if isinstance(path, Path) else nullcontext(path) as file:
            with warnings.catch_warnings():  # of bombs, which are an error below, and oddities
                warnings.simplefilter("ignore")
                image = Image.open(file, formats=FORMATS)
            _check_size(image)
            yield image
    except (PictureFileError, FileNotFoundError):
        raise
    except UnidentifiedImageError as error:
        raise PictureFileError("not a readable picture: none of " + ", ".join(FORMATS)) from error
    except Image.DecompressionBombError as error:
        raise PictureFileError(f"refused: {error}") from error
    except Exception as error:
        text = str(error) or type(error).__name__
        raise PictureFileError(f"not a readable picture: {text}") from error


def _check_size(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise PictureFileError(
            f"refused: {image.width} x {image.height} pixels, more than {limit}: scale it down, or "
            "raise PIL.Image.MAX_IMAGE_PIXELS"
        )
