"""OpenCV is on the board; the linter sees Any whether it is installed or not."""

from typing import Any

def __getattr__(name: str) -> Any: ...
