"""Accuracy of a build on a labelled folder: what report.json keeps of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass

KIND_OF_SOURCE = {"float": "float", "integer": "integer reference", "rtl": "simulated"}
SOURCE_TITLES = {"float": "float graph", "integer": "integer reference", "rtl": "RTL"}
SCORE_HEAD = (
    "masks of", "kind", "pictures", "mDice", "mIoU", "equal to float", "equal to integer",
)  # fmt: skip
TENSOR_HEAD = ("tensor", "layer", "format", "SQNR in dB")


@dataclass(frozen=True)
class MaskScores:
    """Means over `images` pictures.

    source: 'float', 'integer' or 'rtl'; dice, iou, precision, recall: 0..1 against the ground
    truth; agreement_float, agreement_integer: share of pixels with the same value as in the mask
    of that source, None where there is none or the source is the same.
    """

    source: str
    kind: str
    images: int
    dice: float
    iou: float
    precision: float
    recall: float
    agreement_float: float | None = None
    agreement_integer: float | None = None


@dataclass(frozen=True)
class TensorSqnr:
    """Signal to quantisation noise of one feature map, integer reference against float, over all
    pictures. sqnr_db: None if every element is exact."""

    tensor: str
    layer: str
    format: str
    sqnr_db: float | None


@dataclass(frozen=True)
class Accuracy:
    """One evaluation.

    folder: of the pictures, with its parent's name; dataset_sha256: over all pictures and masks;
    unlabelled: pictures left out for want of a mask; size: (H, W) at which masks are compared;
    scores: all pictures first, then (with RTL) each source on the pictures that RTL computed;
    worst_tensors: the lowest SQNR first, empty without a float graph; rtl_bit_exact: None if no
    picture went through the RTL; mac_shares: of the
    multiply-accumulates, by the title of a kind of MAC columns; counted, 0..1.
    """

    folder: str
    dataset_sha256: str
    images: int
    unlabelled: int
    size: tuple[int, int]
    fit: str
    scores: tuple[MaskScores, ...]
    worst_image: str
    worst_dice: float
    mac_shares: dict[str, float]
    worst_tensors: tuple[TensorSqnr, ...] = ()
    rtl_bit_exact: bool | None = None


def score_rows(accuracy: Accuracy) -> list[tuple[str, ...]]:
    """One row of text for each entry of `scores`, under `SCORE_HEAD`."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f} %"

    return [
        (
            SOURCE_TITLES[s.source],
            s.kind,
            f"{s.images} of {accuracy.images}",
            f"{s.dice:.4f}",
            f"{s.iou:.4f}",
            share(s.agreement_float),
            share(s.agreement_integer),
        )
        for s in accuracy.scores
    ]


def tensor_rows(tensors: tuple[TensorSqnr, ...]) -> list[tuple[str, ...]]:
    """One row of text for each tensor, under `TENSOR_HEAD`."""
    return [
        (t.tensor, t.layer, t.format, "exact" if t.sqnr_db is None else f"{t.sqnr_db:.1f}")
        for t in tensors
    ]


def summary(accuracy: Accuracy) -> str:
    """What the table rests on, as one paragraph."""
    height, width = accuracy.size
    bars = ", bars of the letterbox left out" if accuracy.fit == "letterbox" else ""
    lines = [
        f"{accuracy.images} labelled pictures of `{accuracy.folder}` (sha256 "
        f"{accuracy.dataset_sha256[:16]}...), masks compared at {height} x {width}{bars}.",
        f"Lowest Dice of the integer reference: {accuracy.worst_dice:.4f}, "
        f"`{accuracy.worst_image}`.",
        " ".join(
            f"{100 * share:.1f} % of the multiply-accumulates run in {kind} columns (counted)."
            for kind, share in accuracy.mac_shares.items()
        ),
    ]
    if accuracy.unlabelled:
        lines.insert(1, f"{accuracy.unlabelled} pictures without a mask were left out.")
    if not any(s.source == "float" for s in accuracy.scores):
        lines.append(
            "There is no float column and no SQNR: the evaluation ran without `--model MODEL.onnx`."
        )
    if accuracy.rtl_bit_exact is None:
        lines.append("No picture went through the RTL (`--rtl N`).")
    elif accuracy.rtl_bit_exact:
        lines.append("RTL outputs are equal to the integer reference in every element.")
    else:
        lines.append("RTL outputs are DIFFERENT FROM the integer reference.")
    return " ".join(lines)
