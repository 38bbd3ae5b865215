"""What keeps a model from being imported, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fpga_gen.errors import UnsupportedModel


@dataclass(frozen=True)
class Problem:
    """One offending ONNX node (or graph input or output): why it is refused and the remedy."""

    node: str
    op: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.op} {self.node!r}: {self.reason}; {self.remedy}"


class Refused(Exception):
    """Raised while one node is imported; becomes a `Problem` of that node."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy

    @property
    def model_at_fault(self) -> bool:
        """Whether the model is wrong, so that no processor could run it."""
        return self.remedy.startswith(("repair", "export the model again", "export it again"))


def problems_error(path: Path, problems: list[Problem]) -> UnsupportedModel:
    """The error that lists every problem of a model, one line each."""
    count = f"{len(problems)} node{'s' if len(problems) > 1 else ''} cannot be imported"
    return UnsupportedModel("\n  ".join([f"{path}: {count}", *map(str, problems)]))
