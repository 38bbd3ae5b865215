"""log.csv of a training run: what a spreadsheet or pandas draws."""

import csv
import io
from pathlib import Path

from fpga_gen.disk import replace_file

FIELDS: tuple[str, ...] = ("step", "minutes", "rate", "side", "loss", "dice")
EVERY = 10  # steps in one row


class RunLog:
    """Rows of step, minutes, learning rate, side of the pictures, mean loss since the row before,
    and Dice on the validation subset where it was measured."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        """Goes on with the file of an earlier run up to step `resumed_at`; 0: a new one."""
        self.path = path
        self.rows: list[dict[str, str]] = []
        self.losses: list[float] = []
        if resumed_at and path.exists():
            with path.open(newline="") as stream:
                rows = csv.DictReader(stream)
                self.rows = [row for row in rows if int(row["step"]) <= resumed_at]

    def add(self, step: int, seconds: float, rate: float, side: int, loss: float) -> None:
        """After a step; every tenth one makes a row."""
        self.losses.append(loss)
        if step % EVERY == 0:
            self._row(step, seconds, rate=f"{rate:.3e}", side=str(side))

    def dice(self, step: int, seconds: float, value: float) -> None:
        """After a validation."""
        self._row(step, seconds, dice=f"{value:.4f}")

    def save(self) -> None:
        """Writes the file, whole."""
        text = io.StringIO()
        writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        replace_file(self.path, text.getvalue().encode())

    def _row(self, step: int, seconds: float, **values: str) -> None:
        if self.losses:
            values["loss"] = f"{sum(self.losses) / len(self.losses):.5f}"
            self.losses = []
        minutes = f"{seconds / 60:.2f}"
        self.rows.append({"step": str(step), "minutes": minutes, **values})
