"""Verilog of an accelerator, cut into modules that are mapped once each.

A module's digest covers its own text and the digests of the modules it places, not their names:
two equal blocks share one result, and a cached result can never belong to another text.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

_NAME = r"(?:\\\S+(?=\s)|[A-Za-z_]\w*)"
_ATTRIBUTES = r"(?:\(\*.*?\*\)\s*)*"
_MODULE = re.compile(rf"^{_ATTRIBUTES}module\s+({_NAME})\s*\(.*?^endmodule", re.S | re.M)
_INSTANCE = re.compile(rf"^\s*({_NAME})\s+{_NAME}\s*\($", re.M)
_SIMULATION = re.compile(r"^`ifdef VERILATOR$.*?^`else$(.*?)^`endif$", re.S | re.M)
_NOISE = (  # what differs between equal modules: numbers of the writer, packaging attributes
    (re.compile(r"dump_module\$\d+"), "dump_module"),
    (re.compile(r"\(\* X_INTERFACE_\w+ = \".*?\" \*\)"), ""),
    (re.compile(r"/\*.*?\*/", re.S), ""),
    (re.compile(r"@self\s+"), "@self "),  # an escaped name ends with a blank
)


@dataclass(frozen=True)
class VerilogModule:
    """One module: name as Yosys calls it (no backslash), its text, modules it places (counted)."""

    name: str
    text: str
    children: Mapping[str, int]


@dataclass(frozen=True)
class Hierarchy:
    """Modules by name, children before parents."""

    modules: Mapping[str, VerilogModule]

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digest by module name (see module docstring)."""
        out: dict[str, str] = {}
        for name, module in self.modules.items():
            text = _spelling(name).sub("@self", module.text)
            for child in sorted(module.children, key=len, reverse=True):
                text = _spelling(child).sub(f"@{out[child]}", text)
            for pattern, replacement in _NOISE:
                text = pattern.sub(replacement, text)
            out[name] = hashlib.sha256(text.encode()).hexdigest()[:24]
        return out

    def counts(self, top: str) -> Counter[str]:
        """Number of copies of every module under one `top`, itself included."""
        out: Counter[str] = Counter({top: 1})
        for name in reversed(list(self.modules)):
            for child, number in self.modules[name].children.items():
                out[child] += out[name] * number
        return +out


def _spelling(name: str) -> re.Pattern[str]:
    """The module's name where Verilog places or declares it: at the start of a line."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", name)
    spelt = re.escape(name) + r"(?!\w)" if plain else re.escape("\\" + name) + r"(?=\s)"
    return re.compile(rf"(?m)(?<=^module ){spelt}|(?<=^  ){spelt}")


def split_modules(files: Mapping[str, str]) -> Hierarchy:
    """The modules of Verilog files {name: text} as synthesis sees them; files that are not .v are
    left out."""
    texts = {
        match[1].removeprefix("\\"): match[0]
        for name, text in sorted(files.items())
        if name.endswith(".v")
        for match in _MODULE.finditer(_SIMULATION.sub(r"\1", text))
    }
    found = {
        name: VerilogModule(
            name,
            text,
            Counter(
                child
                for match in _INSTANCE.finditer(text)
                if (child := match[1].removeprefix("\\")) in texts
            ),
        )
        for name, text in texts.items()
    }
    ordered: dict[str, VerilogModule] = {}

    def visit(name: str) -> None:
        if name not in ordered:
            for child in sorted(found[name].children):
                visit(child)
            ordered[name] = found[name]

    for name in sorted(found):
        visit(name)
    return Hierarchy(ordered)
