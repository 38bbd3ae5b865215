"""The linter sees the same of PyTorch, Any, whether the extra `models` is installed or not."""

from typing import Any

def __getattr__(name: str) -> Any: ...
