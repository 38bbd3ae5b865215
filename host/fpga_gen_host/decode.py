"""JSON values -> frozen dataclasses, every field checked against its declared type."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_INT = 1 << 53  # what a JSON number holds exactly everywhere
T = TypeVar("T")


def decode(cls: type[T], value: object, where: str = "") -> T:
    """The dataclass `cls` of a JSON object.

    Lists become tuples, a whole number may stand for a float, a field may be absent if it has a
    default, and no other keys may be there. where: path of the value, for the message.

    Raises:
        ValueError: names the field that is missing, unknown or of another type.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where or cls.__name__} is no object")
    hints = _hints(cls)
    unknown = sorted(str(key) for key in value.keys() - hints.keys())
    if unknown:
        raise ValueError(f"{_join(where, unknown[0])} is unknown")
    missing = [name for name, (_, needed) in hints.items() if needed and name not in value]
    if missing:
        raise ValueError(f"{_join(where, missing[0])} is missing")
    return cls(
        **{name: _value(hints[name][0], item, _join(where, name)) for name, item in value.items()}
    )


@cache
def _hints(cls: type) -> dict[str, tuple[Any, bool]]:
    """Type of each field, and whether it must be given."""
    types_ = get_type_hints(cls)
    return {
        f.name: (types_[f.name], f.default is MISSING and f.default_factory is MISSING)
        for f in fields(cls)
    }


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _value(hint: Any, value: Any, where: str) -> Any:
    if hint in PLAIN:
        if not PLAIN[hint](value):
            raise ValueError(f"{where} is no {NAMES[hint]}")
        return value
    if isinstance(hint, type) and is_dataclass(hint):
        return decode(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, where)
    if origin is tuple:
        return _tuple(arguments, value, where)
    assert origin is dict, f"{where}: no rule for {hint}"
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no object")
    return {key: _value(arguments[1], item, _join(where, key)) for key, item in value.items()}


def _union(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in hints:
        return None
    (hint,) = (h for h in hints if h is not type(None))
    return _value(hint, value, where)


def _tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where} is no list")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(hints) != len(value):
        raise ValueError(f"{where} has {len(value)} values, {len(hints)} are needed")
    return tuple(
        _value(hint, item, f"{where}[{number}]")
        for number, (hint, item) in enumerate(zip(hints, value, strict=True))
    )


def _is_int(value: object) -> bool:
    return type(value) is int and -MAX_INT <= value <= MAX_INT


PLAIN: dict[Any, Callable[[Any], bool]] = {
    int: _is_int,
    float: lambda value: _is_int(value) or (type(value) is float and math.isfinite(value)),
    bool: lambda value: type(value) is bool,
    str: lambda value: type(value) is str,
    dict: lambda value: type(value) is dict,
}
NAMES = {int: "whole number", float: "number", bool: "truth value", str: "text", dict: "object"}
