"""Picture files of every kind: the compiler and the driver read the same pixels or refuse."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpga_gen.evaluate.dataset import read_grey
from fpga_gen.images import PictureError, read_picture
from fpga_gen_host import InputError, picture_file
from fpga_gen_host.video import frames

ORIENTATION = 0x0112
GREY = np.array([[0, 64, 128], [192, 254, 255]], np.uint8)
RGB = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14


def read(path: Path) -> np.ndarray:
    """What both make of a file; AssertionError if they differ."""
    mine, theirs = read_picture(path), list(frames(path))
    np.testing.assert_array_equal(mine, theirs[0])
    np.testing.assert_array_equal(mine, picture_file.read_rgb(path))
    assert mine.dtype == theirs[0].dtype == np.uint8
    return mine


def refusal(path: Path) -> str:
    """Why both refuse a file; the message names it once."""
    with pytest.raises(PictureError) as mine:
        read_picture(path)
    with pytest.raises(InputError) as theirs:
        next(frames(path))
    assert str(mine.value) == str(theirs.value)
    assert str(mine.value).startswith(f"{path}: ")
    return str(mine.value)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("1", "png"), ("1", "tif"), ("L", "png"), ("L", "tif"), ("L", "bmp"), ("L", "gif"),
        ("P", "png"), ("P", "tif"), ("P", "gif"), ("RGB", "png"), ("RGB", "tif"), ("RGB", "bmp"),
        ("RGBX", "tif"), ("CMYK", "tif"), ("YCbCr", "tif"), ("RGB", "jpg"), ("L", "jpg"),
        ("CMYK", "jpg"), ("RGB", "webp"),
    ],
)  # fmt: skip
def test_eight_bit_modes(tmp_path: Path, mode: str, suffix: str):
    """As Pillow converts them; a flat colour survives every compression within a few steps."""
    colour = (200, 40, 90)
    path = tmp_path / f"p.{suffix}"
    flat = Image.new("RGB", (16, 16), colour).convert(mode)
    flat.save(path)
    expected = np.asarray(flat.convert("RGB"))
    assert np.abs(read(path).astype(int) - expected).max() <= (8 if suffix in "jpg webp" else 1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, suffix: str, mode: str):
    values = np.array([[0, 128, 129, 257], [32767, 32768, 65406, 65535]], np.uint16)
    path = tmp_path / f"p.{suffix}"
    data = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    Image.frombytes(mode, (4, 2), data).save(path)
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(read(path), grey(expected))
    assert set(expected.flat) == {0, 1, 127, 128, 254, 255}


def test_sixteen_bit_grey_of_a_pgm(tmp_path: Path):
    (tmp_path / "p.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 257 * 9, 65535))
    expected = grey(np.array([[9, 255]], np.uint8))
    np.testing.assert_array_equal(picture_file.read_rgb(tmp_path / "p.pgm"), expected)


def test_twelve_bits_and_white_is_zero(tmp_path: Path):
    """Kinds of TIFF that Pillow hands over unscaled and not inverted."""
    path = tmp_path / "p.tif"
    write_tiff(path, bits=12, photometric=1, data=bytes((0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00)))
    np.testing.assert_array_equal(read(path), grey(np.array([[0, 128], [255, 0]], np.uint8)))
    write_tiff(path, bits=16, photometric=0, data=struct.pack("<4H", 0, 65535, 257, 257 * 100))
    np.testing.assert_array_equal(read(path), grey(np.array([[255, 0], [254, 155]], np.uint8)))


def write_tiff(path: Path, bits: int, photometric: int, data: bytes) -> None:
    """A 2 x 2 grey picture, one strip, not compressed."""
    tags = {256: 2, 257: 2, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 2}
    tags[279] = len(data)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    padded = data + bytes(len(data) % 2)
    head = b"II*\0" + struct.pack("<I", 8 + len(padded))
    path.write_bytes(head + padded + struct.pack("<H", len(tags)) + entries + bytes(4))


def test_sixteen_bit_colour_keeps_its_high_byte(tmp_path: Path):
    """Pillow reads no more of it."""
    rows = b"".join(b"\0" + struct.pack(">6H", *(257 * v for v in row)) for row in (range(6),) * 2)
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    write_png_chunks(tmp_path / "p.png", header, zlib.compress(rows))
    np.testing.assert_array_equal(read(tmp_path / "p.png").reshape(2, 6), [[*range(6)]] * 2)


def write_png_chunks(path: Path, header: bytes, data: bytes) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_what_has_no_white_is_refused(tmp_path: Path, mode: str):
    Image.new(mode, (3, 2)).save(tmp_path / "p.tif")
    assert f"mode {mode}: nothing says which value is white" in refusal(tmp_path / "p.tif")


UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {  # EXIF orientation -> what lies in the file, so that it shows UPRIGHT (EXIF 2.3, 4.6.4)
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["L.png", "RGB.png", "RGBA.png", "I;16.png", "L.tif", "L.webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, kind: str):
    mode, suffix = kind.rsplit(".", 1)
    path = tmp_path / f"p.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.ascontiguousarray(STORED[orientation])
    if mode == "I;16":
        image = Image.fromarray(stored.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(stored).convert(mode)
    image.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read(path), grey(UPRIGHT))
    if mode != "I;16":
        np.testing.assert_array_equal(read_grey(path), UPRIGHT)


def test_exif_orientation_of_a_jpeg(tmp_path: Path):
    """A camera held upright: a white upper half."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = np.zeros((32, 64), np.uint8)
    stored[:, :32] = 255
    Image.fromarray(stored).save(tmp_path / "p.jpg", exif=exif)
    got = read(tmp_path / "p.jpg")
    assert got.shape == (64, 32, 3)
    assert got[:28].min() > 200
    assert got[36:].max() < 50


def test_a_broken_exif_block_says_nothing(tmp_path: Path):
    Image.fromarray(RGB).save(tmp_path / "p.png", exif=b"Exif\0\0no such thing")
    np.testing.assert_array_equal(read(tmp_path / "p.png"), RGB)


def with_alpha(mode: str, alpha: int) -> Image.Image:
    """RGB, or GREY for modes without colour, with one pixel of that alpha."""
    image = Image.fromarray(GREY if mode in ("LA", "PA") else RGB).convert(mode)
    channel = np.full((2, 3), 255, np.uint8)
    channel[1, 2] = alpha
    image.putalpha(Image.fromarray(channel))
    return image


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("LA", "png"), ("LA", "tif"), ("PA", "tif"), ("RGBA", "png"), ("RGBA", "tif"),
     ("RGBA", "webp")],
)  # fmt: skip
def test_alpha(tmp_path: Path, mode: str, suffix: str):
    path = tmp_path / f"p.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    with_alpha(mode, 255).save(path, **options)
    np.testing.assert_array_equal(read(path), RGB if mode == "RGBA" else grey(GREY))
    for alpha in (254, 0):
        with_alpha(mode, alpha).save(path, **options)
        assert "1 of 6 pixels are transparent: put it on a background" in refusal(path)
        with pytest.raises(PictureError, match="transparent"):
            read_grey(path)


def test_transparent_colours(tmp_path: Path):
    """A colour of a PNG or GIF that stands for nothing matters if a pixel has it."""
    path = tmp_path / "p.png"
    palette = Image.fromarray(RGB).convert("P", palette=Image.Palette.ADAPTIVE, colors=6)
    cases = [
        (Image.fromarray(RGB), (1, 2, 3), (0, 14, 28)),
        (Image.fromarray(GREY), 7, 64),
        (palette, bytes([255] * 6), bytes([0] * 6)),
        (Image.fromarray(GREY.astype(np.uint16) * 257), 1, 257 * 64),
    ]
    for image, unused, used in cases:
        image.save(path, transparency=unused)
        read(path)
        image.save(path, transparency=used)
        assert "are transparent" in refusal(path)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch):
    """10,000 x 20,000 pixels in the header, no pixel data at all behind it."""
    header = struct.pack(">IIBBBBB", 10_000, 20_000, 8, 2, 0, 0, 0)
    write_png_chunks(tmp_path / "p.png", header, b"")
    message = refusal(tmp_path / "p.png")
    assert "refused: " in message
    assert "200000000 pixels" in message or "10000 x 20000 pixels" in message
    with pytest.raises(PictureError, match="refused"):
        read_grey(tmp_path / "p.png")
    # Twice Pillow's limit is an error of Pillow itself; between the two it only warns.
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    write_png_chunks(tmp_path / "p.png", header, b"")
    assert "refused: 10000 x 10000 pixels, more than 89478485" in refusal(tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert "not a readable picture" in refusal(tmp_path / "p.png")


def test_a_large_page_is_refused(tmp_path: Path, monkeypatch):
    pages = [Image.new("L", (4, 4)), Image.new("L", (40, 40))]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    got = frames(tmp_path / "p.tif")
    assert next(got).shape == (4, 4, 3)
    with pytest.raises(InputError, match="40 x 40 pixels, more than 100"):
        next(got)


@pytest.mark.parametrize("text", [b"no picture", b"", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_other_files(tmp_path: Path, text: bytes):
    (tmp_path / "p.png").write_bytes(text)
    assert "not a readable picture: none of BMP, GIF, JPEG" in refusal(tmp_path / "p.png")


def test_oddities_of_a_file_are_no_warnings(tmp_path: Path, recwarn):
    """Pillow tells of tags that it skips, on standard error; the picture is read or refused."""
    Image.fromarray(RGB).save(tmp_path / "a.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for start in range(4, 10):
        data[4:8] = start.to_bytes(4, "little")
        (tmp_path / "a.tif").write_bytes(data)
        with suppress(PictureError):
            read_picture(tmp_path / "a.tif")
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    read(tmp_path / "a.jpg")
    assert [str(w.message) for w in recwarn if "PIL" in str(w.filename)] == []


def test_every_cut_of_a_file_is_one_clear_error(tmp_path: Path):
    """And never a picture with pixels that are not in the file."""
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    noise = np.random.default_rng(1).integers(0, 256, (24, 24, 3), np.uint8)
    refused: list[str] = []
    for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp"):
        path = tmp_path / f"p.{suffix}"
        Image.fromarray(noise).save(path, exif=exif)
        whole = path.read_bytes()
        good = read(path)
        for end in range(0, len(whole), 1 + len(whole) // 40):
            path.write_bytes(whole[:end])
            try:
                got = read_picture(path)
            except PictureError as error:
                refused.append(str(error))
            else:
                np.testing.assert_array_equal(got, good)
    assert len(refused) > 200
    assert all("not a readable picture" in message for message in refused)


def test_flipped_bytes_raise_nothing_else(tmp_path: Path):
    rng = np.random.default_rng(2)
    noise = rng.integers(0, 256, (16, 16, 3), np.uint8)
    for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp"):
        path = tmp_path / f"p.{suffix}"
        Image.fromarray(noise).save(path)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            spoilt = whole.copy()
            spoilt[rng.integers(0, min(len(spoilt), 120), 3)] ^= 1 << rng.integers(0, 8)
            path.write_bytes(spoilt.tobytes())
            try:
                assert read_picture(path).dtype == np.uint8
            except PictureError:
                pass
