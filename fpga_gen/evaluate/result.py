"""The whole result of an evaluation: evaluation.json and its Markdown form."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from html import escape

from fpga_gen.evaluate.masks import Sample
from fpga_gen.report.accuracy import (
    SCORE_HEAD,
    SOURCE_TITLES,
    TENSOR_HEAD,
    Accuracy,
    TensorSqnr,
    score_rows,
    summary,
    tensor_rows,
)
from fpga_gen.report.markdown import table
from fpga_gen.report.notebook import html_table

SCHEMA = 2
METHOD = (
    "A prediction is sigmoid(logit) > 0.5 after the operators that run on the host, at the size "
    "of the network's output. Ground truth is an 8-bit picture, foreground above 127, brought to "
    "that size by nearest neighbour; with a letterbox only the part that belongs to the picture "
    "counts. Dice and IoU are taken for each picture and averaged; where mask and prediction are "
    "both empty they are 1. Equality is the share of pixels with the same value, averaged over "
    "pictures. SQNR is 10 log10 of signal over noise power, integer reference against the float "
    "graph, summed over all pictures. Pictures for the RTL are spaced evenly in the ranking by "
    "Dice of the integer reference, the worst always among them; scores on them alone stand in "
    "rows of their own."
)


@dataclass(frozen=True)
class PictureScores:
    """One picture. scores: by source, Dice, IoU, precision and recall; agreement: share of equal
    pixels by pair of sources; bit_exact, cycles: of the RTL, None where it was not run."""

    image: str
    mask: str
    scores: dict[str, dict[str, float]]
    agreement: dict[str, float]
    bit_exact: bool | None
    cycles: int | None

    @staticmethod
    def of(sample: Sample) -> PictureScores:
        pairs = (("float", "integer"), ("float", "rtl"), ("integer", "rtl"))
        agreement = {f"{a} {b}": sample.agreement(a, b) for a, b in pairs}
        names = ("dice", "iou", "precision", "recall")
        return PictureScores(
            image=sample.pair.name,
            mask=sample.pair.mask.name,
            scores={
                source: {n: getattr(m, n) for n in names} for source, m in sample.metrics.items()
            },
            agreement={k: v for k, v in agreement.items() if v is not None},
            bit_exact=None if "rtl" not in sample.masks else sample.mismatch is None,
            cycles=sample.cycles,
        )


@dataclass(frozen=True)
class Evaluation:
    """tensors: every feature map, the lowest SQNR first, empty without a float graph; pictures:
    the lowest Dice of the integer reference first; unlabelled: pictures without a mask."""

    model: str
    model_sha256: str
    board: str
    accuracy: Accuracy
    tensors: tuple[TensorSqnr, ...]
    pictures: tuple[PictureScores, ...]
    unlabelled: tuple[str, ...]
    tool_version: str
    method: str = METHOD
    schema: int = SCHEMA

    def to_dict(self) -> dict:
        """JSON-able form."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """Scores for Jupyter."""
        accuracy = self.accuracy
        title = f"Accuracy of {self.model} on {self.board}, {accuracy.images} pictures"
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(summary(accuracy)))
        return (
            f"<h3>{escape(title)}</h3>{html_table(SCORE_HEAD, score_rows(accuracy))}<p>{text}</p>"
        )


def render_evaluation(evaluation: Evaluation) -> str:
    """evaluation.md."""
    accuracy = evaluation.accuracy
    parts = [
        f"# Accuracy of {evaluation.model} on {evaluation.board}",
        table(SCORE_HEAD, score_rows(accuracy), left=2),
        summary(accuracy),
    ]
    drop = _dice_drop(accuracy)
    if drop is not None:
        parts.append(f"Quantisation changes mDice by {drop:+.4f} over all pictures.")
    parts += ["![picture sheet](evaluation.png)", METHOD]
    if accuracy.worst_tensors:
        parts += [
            f"## Lowest SQNR ({len(accuracy.worst_tensors)} of {len(evaluation.tensors)} tensors)",
            table(TENSOR_HEAD, tensor_rows(accuracy.worst_tensors), left=3),
        ]
    used = {s for p in evaluation.pictures for s in p.scores}
    sources = [s for s in SOURCE_TITLES if s in used]
    rows = []
    for picture in evaluation.pictures:
        dice = [f"{picture.scores[s]['dice']:.4f}" if s in picture.scores else "-" for s in sources]
        exact = {None: "-", True: "yes", False: "NO"}[picture.bit_exact]
        rows.append((picture.image, *dice, exact))
    head = ("picture", *(f"Dice, {SOURCE_TITLES[s]}" for s in sources), "RTL bit-exact")
    parts += ["## Pictures, the worst first", table(head, rows)]
    if evaluation.unlabelled:
        parts.append("Left out, no mask: " + ", ".join(f"`{n}`" for n in evaluation.unlabelled))
    return "\n\n".join(parts) + "\n"


def _dice_drop(accuracy: Accuracy) -> float | None:
    whole = {s.source: s.dice for s in accuracy.scores if s.images == accuracy.images}
    return whole["integer"] - whole["float"] if "float" in whole else None
