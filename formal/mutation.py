"""A small edit of the hardware's source that a proof must catch."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "fpga_gen.hardware"


@dataclass(frozen=True)
class Mutation:
    """In the module `fpga_gen.hardware.<module>`, `old` (which occurs once) is `new`."""

    module: str
    old: str
    new: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The edited source in the module's place, and wherever a name of it was imported."""
        module = import_module(f"{PACKAGE}.{self.module}")
        path = Path(str(module.__file__))
        source = path.read_text()
        count = source.count(self.old)
        assert count == 1, f"{path.name}: {self.old!r} occurs {count} times"
        before = dict(vars(module))
        code = compile(source.replace(self.old, self.new), str(path), "exec", dont_inherit=True)
        exec(code, vars(module))
        changes = list(_replacements(before, vars(module), module.__name__))
        try:
            for user, name, _, new in changes:
                setattr(user, name, new)
            yield
        finally:
            for user, name, old, _ in changes:
                setattr(user, name, old)
            vars(module).clear()
            vars(module).update(before)


def _replacements(
    before: dict[str, Any], edited: dict[str, Any], origin: str
) -> Iterator[tuple[ModuleType, str, Any, Any]]:
    """(module, name, old value, new value) wherever a class or function of `origin` is known."""
    made_there = {
        id(old): edited[name]
        for name, old in before.items()
        if getattr(old, "__module__", None) == origin and name in edited
    }
    users = [m for n, m in sys.modules.items() if n.startswith(PACKAGE) and n != origin]
    for user in users:
        for name, value in list(vars(user).items()):
            if id(value) in made_there:
                yield user, name, value, made_there[id(value)]


@contextmanager
def constants(values: Mapping[str, int]) -> Iterator[None]:
    """Constants of hardware modules, such as {"shell.read_dma.MAX_BURSTS": 4}."""
    changed = []
    for path, value in values.items():
        name, _, constant = path.rpartition(".")
        module = import_module(f"{PACKAGE}.{name}")
        changed.append((module, constant, getattr(module, constant)))
        setattr(module, constant, value)
    try:
        yield
    finally:
        for module, constant, value in changed:
            setattr(module, constant, value)
