"""Amaranth makes its members at run time and has no types: whatever comes from it is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
