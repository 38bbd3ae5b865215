"""The picture sheet: picture, ground truth, float mask, RTL or integer mask, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fpga_gen.evaluate.dataset import resize_nearest
from fpga_gen.evaluate.masks import Sample, evenly
from fpga_gen.images import read_picture
from fpga_gen.report.accuracy import SOURCE_TITLES

ROWS = 8
TILE, GAP, LINE = 176, 6, 18  # pixels
PAPER, INK = (24, 26, 30), (232, 232, 232)
HIT, FALSE, MISSED = (240, 240, 240), (232, 84, 72), (76, 132, 240)
COLUMNS = ("picture", "ground truth", "float mask", "mask of RTL or integer reference")
LEGEND = "white: found; red: not in the ground truth; blue: missed"


def sheet_ranks(count: int, simulated: Sequence[int], rows: int = ROWS) -> list[int]:
    """Ranks (0 is the worst) of the pictures to show: 0, then those that RTL computed, then an
    even choice of all."""
    chosen = [0]
    runs = sorted(simulated)
    for rank in (*(runs[i] for i in evenly(len(runs), rows)), *evenly(count, rows)):
        if rank not in chosen and len(chosen) < rows:
            chosen.append(rank)
    return sorted(chosen)


def colour_mask(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3): hits, false positives and missed pixels in their colours."""
    out = np.zeros((*predicted.shape, 3), np.uint8)
    out[predicted & truth] = HIT
    out[predicted & ~truth] = FALSE
    out[truth & ~predicted] = MISSED
    return out


def tile_size(picture_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a picture's tiles: its own aspect ratio, longer side `TILE`."""
    scale = TILE / max(picture_size)
    return max(1, round(picture_size[0] * scale)), max(1, round(picture_size[1] * scale))


def tiles(sample: Sample) -> tuple[np.ndarray | None, ...]:
    """The four tiles of a row, uint8 (h, w, 3); None for a float mask that was not computed."""
    height, width = tile_size(sample.picture_size)

    def fitted(mask: np.ndarray) -> np.ndarray:
        return resize_nearest(mask, height, width)

    picture = Image.fromarray(read_picture(sample.pair.image))
    truth = fitted(sample.truth.get())
    shown = {s: colour_mask(fitted(m.get()), truth) for s, m in sample.masks.items()}
    return (
        np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)),
        colour_mask(truth, truth),
        shown.get("float"),
        shown.get("rtl", shown["integer"]),
    )


def caption(sample: Sample, rank: int, count: int) -> str:
    """Rank, name and Dice of each source; says which mask the last column shows."""
    place = f"{rank + 1} of {count}" + (" (worst)" if rank == 0 else "")
    dice = ", ".join(
        f"{SOURCE_TITLES[s]} {sample.metrics[s].dice:.3f}"
        for s in ("float", "integer", "rtl")
        if s in sample.metrics
    )
    name = sample.pair.name.encode("ascii", "replace").decode()  # the built-in font has no more
    name = name if len(name) <= 32 else f"{name[:29]}..."
    shown = SOURCE_TITLES["rtl" if "rtl" in sample.masks else "integer"]
    return f"{place}: {name}   Dice: {dice}   last column: {shown}"


def draw_sheet(ranked: Sequence[Sample], ranks: Sequence[int]) -> np.ndarray:
    """uint8 (height, width, 3) sheet of the samples at `ranks` of the list, the worst first."""
    step = LINE + TILE + GAP
    size = (4 * TILE + 5 * GAP, 2 * LINE + len(ranks) * step)
    sheet = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    lefts = [GAP + column * (TILE + GAP) for column in range(4)]
    for left, title in zip(lefts, COLUMNS, strict=True):
        pen.text((left, 3), title, INK, font=font)
    for row, rank in enumerate(ranks):
        sample, top = ranked[rank], LINE + row * step
        pen.text((GAP, top + 3), caption(sample, rank, len(ranked)), INK, font=font)
        for left, tile in zip(lefts, tiles(sample), strict=True):
            if tile is None:
                pen.text((left, top + LINE + GAP), "no float model given", INK, font=font)
            else:
                sheet.paste(Image.fromarray(tile), (left, top + LINE))
    pen.text((GAP, size[1] - LINE + 3), LEGEND, INK, font=font)
    return np.asarray(sheet)
