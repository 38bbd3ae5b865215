"""A drawn colonoscopy-like picture: pink mucosa with folds, one polyp-like blob, highlights.

It stands in for a patient's picture in the demo and in tests; it is not medical data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fpga_gen.images import write_png

MUCOSA = np.array((206.0, 112.0, 98.0))
POLYP = np.array((186.0, 62.0, 58.0))
VESSEL = np.array((150.0, 44.0, 48.0))
LIGHT = np.array((255.0, 250.0, 240.0))


def _noise(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise in -1..1 of shape (height, width): a bilinear blow-up of a random grid."""
    grid = rng.uniform(-1, 1, (cells + 1, cells + 1))
    y, x = np.linspace(0, cells, height, endpoint=False), np.linspace(0, cells, width, False)
    y0, x0 = y.astype(int), x.astype(int)
    fy, fx = (y - y0)[:, None], (x - x0)[None, :]
    fy, fx = fy * fy * (3 - 2 * fy), fx * fx * (3 - 2 * fx)
    top = grid[y0][:, x0] * (1 - fx) + grid[y0][:, x0 + 1] * fx
    bottom = grid[y0 + 1][:, x0] * (1 - fx) + grid[y0 + 1][:, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


def draw_phantom(
    height: int = 352, width: int = 352, seed: int = 0, polyp: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(picture, mask): uint8 (height, width, 3) RGB and bool (height, width), the polyp's pixels.

    polyp: without it the mucosa alone is drawn, and the mask is empty. The same arguments always
    give the same bytes.
    """
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(
        np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij", sparse=True
    )
    shade = 1.0 - 0.45 * np.clip(np.hypot(y, x) - 0.25, 0, None) ** 1.5
    angle = rng.uniform(0, np.pi)
    along = np.cos(angle) * y + np.sin(angle) * x
    folds = 0.10 * np.sin(9 * along + 2.0 * _noise(rng, height, width, 4))
    shade = shade + folds + 0.05 * _noise(rng, height, width, 24)
    picture = MUCOSA * shade[..., None]

    vessels = np.abs(_noise(rng, height, width, 7)) < 0.025
    picture[vessels] = 0.7 * picture[vessels] + 0.3 * VESSEL

    cy, cx = rng.uniform(-0.35, 0.35, 2)
    radius = rng.uniform(0.26, 0.36)
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.1, 1.4)
    u = (np.cos(turn) * (y - cy) + np.sin(turn) * (x - cx)) * stretch
    v = -np.sin(turn) * (y - cy) + np.cos(turn) * (x - cx)
    distance = np.hypot(u, v) / (radius * (1 + 0.12 * _noise(rng, height, width, 5)))
    mask = (distance < 1) & polyp
    dome = np.sqrt(np.clip(1 - distance**2, 0, 1))[..., None]
    texture = 1 + 0.10 * _noise(rng, height, width, 40)[..., None]
    rim = np.exp(-(((distance - 1.05) / 0.08) ** 2))[..., None]
    picture = picture * (1 - 0.45 * polyp * rim)
    picture = np.where(mask[..., None], POLYP * (0.62 + 0.6 * dome) * texture, picture)

    for _ in range(9):  # specular highlights, most of them on the dome
        hy, hx = (cy, cx) + rng.normal(0, 0.22, 2)
        size = rng.uniform(0.012, 0.035)
        spot = np.exp(-((((y - hy) ** 2 + ((x - hx) * 0.7) ** 2) / size**2) ** 2))[..., None]
        picture = picture * (1 - spot) + LIGHT * spot
    picture = picture + rng.normal(0, 2.5, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), mask


def main() -> None:
    """`python -m fpga_gen.phantom OUT.png [--seed N]`, or a folder with --count N; with --masks
    FOLDER the mask of each picture too, 0 or 255, under the picture's name. --empty: no polyp."""
    parser = argparse.ArgumentParser(description="draw phantom colonoscopy pictures")
    parser.add_argument("out", type=Path, help="PNG file, or a folder with --count")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--count", type=int, help="draw so many pictures into the folder `out`")
    parser.add_argument("--masks", type=Path, help="write each picture's mask into this folder")
    parser.add_argument("--empty", action="store_true", help="mucosa without a polyp")
    parser.add_argument("--size", type=int, default=352, help="height and width in pixels")
    options = parser.parse_args()
    for index in range(options.count or 1):
        seed = options.seed + index
        name = f"{'empty' if options.empty else 'phantom'}-{seed:04d}.png"
        path = options.out if options.count is None else options.out / name
        picture, mask = draw_phantom(options.size, options.size, seed, not options.empty)
        write_png(path, picture)
        if options.masks is not None:
            write_png(options.masks / f"{path.stem}.png", mask.astype(np.uint8) * 255)


if __name__ == "__main__":
    main()
