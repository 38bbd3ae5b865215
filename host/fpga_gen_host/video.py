"""Frames from pictures, folders, video files and cameras. OpenCV is only needed for the last two;
camera input was not run on hardware."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fpga_gen_host.errors import InputError
from fpga_gen_host.picture_file import PictureFileError, read_pages

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def frames(source: str | Path | int) -> Iterator[np.ndarray]:
    """uint8 RGB (height, width, 3) frames.

    source: number of a camera; a video file; a picture, animated or not; a folder of pictures,
    taken in order of name; `fpga_gen_host.picture_file` says what becomes of which file.

    Raises:
        InputError: it cannot be read, or OpenCV is missing.
    """
    if isinstance(source, int):
        yield from _opencv(source, f"camera {source}")
        return
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"{path}: no pictures in this folder")
        for file in files:
            yield from _pictures(file)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix.lower() in SUFFIXES:
        yield from _pictures(path)
    else:
        yield from _opencv(str(path), str(path))


def _pictures(path: Path) -> Iterator[np.ndarray]:
    try:
        yield from read_pages(path)
    except (PictureFileError, OSError) as error:
        raise InputError(f"{path}: {error}") from error


def _opencv(source: str | int, name: str) -> Iterator[np.ndarray]:
    try:
        import cv2
    except ImportError as error:
        raise InputError(f"{name}: needs OpenCV: pip install 'fpga-gen-host[video]'") from error
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            raise InputError(f"{name}: cannot be opened")
        while True:
            good, picture = capture.read()
            if not good:
                return
            yield np.ascontiguousarray(picture[..., ::-1])  # BGR to RGB
    finally:
        capture.release()
