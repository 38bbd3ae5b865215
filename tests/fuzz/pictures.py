"""Picture files: refused with one error, or read as pixels, the same by compiler and driver."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from fpga_gen.images import PictureError, read_picture
from fpga_gen_host import InputError
from fpga_gen_host.video import frames
from tests.fuzz.campaign import Different

KINDS = (("RGB", "png"), ("L", "png"), ("P", "png"), ("I;16", "png"), ("RGBA", "png"),
         ("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGB", "tif"), ("F", "tif"),
         ("I;16", "tif"), ("1", "tif"), ("RGB", "bmp"), ("P", "gif"), ("RGB", "webp"))  # fmt: skip
FORMATS = {"jpg": "JPEG", "tif": "TIFF"}


def mutated(rng: random.Random) -> tuple[str, bytes]:
    """(suffix, bytes) of a small picture with some bytes changed, cut, doubled or put in."""
    mode, suffix = rng.choice(KINDS)
    values = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (12, 17, 3), np.uint8)
    picture = Image.fromarray(values).convert("L" if mode in ("F", "I;16") else mode)
    picture = picture.convert(mode) if mode != "I;16" else picture.convert("I").convert("I;16")
    stream = io.BytesIO()
    picture.save(stream, FORMATS.get(suffix, suffix.upper()))
    data = bytearray(stream.getvalue())
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(min(len(data), 64)) if rng.random() < 0.5 else rng.randrange(len(data))
        kind = rng.randrange(5)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
        elif kind == 3:
            data[at:at] = data[at : at + rng.randrange(40)]
        else:
            del data[at : at + rng.randrange(1, 40)]
        if not data:
            data = bytearray(b"\0")
    return suffix, bytes(data)


def attempt(rng: random.Random, folder: Path) -> str:
    """Read a mutated picture as the compiler does and as the driver does."""
    suffix, data = mutated(rng)
    path = folder / f"p.{suffix}"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd tags
        return _read(path)


def _read(path: Path) -> str:
    try:
        mine = read_picture(path)
    except PictureError as error:
        try:
            next(frames(path))
        except InputError:
            return "refused"
        raise Different(f"the driver reads what the compiler refuses: {error}") from None
    if mine.dtype != np.uint8 or mine.ndim != 3 or mine.shape[2] != 3 or not mine.size:
        raise Different(f"{mine.dtype}{mine.shape}")
    if not np.array_equal(mine, next(frames(path))):
        raise Different("the driver reads other pixels than the compiler")
    return "read"
