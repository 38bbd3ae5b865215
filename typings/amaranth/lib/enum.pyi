"""Python's enumerations with a shape in hardware."""

import enum
from typing import Any

class Enum(enum.Enum):
    def __init_subclass__(cls, *, shape: Any = None, view_class: Any = None) -> None: ...

def __getattr__(name: str) -> Any: ...
