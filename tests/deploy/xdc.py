"""The exceptions of double_clock.xdc, and the names they are matched against."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from fpga_gen.deploy.vivado_project import CONSTRAINTS, TCL_FOLDER
from fpga_gen.hardware.top import TOP

TOKEN = r"(\\\S+ |[A-Za-z_]\w*)"
INSTANCE = re.compile(
    rf"^  {TOKEN} ?(?:#\(\n(?:    .*\n)+?  \) )?{TOKEN} ?\(\n((?:    .*\n)+)", re.M
)
REGISTER = re.compile(rf"^  reg (?:\[(\d+):0\] )?{TOKEN} ?(?:=|;)", re.M)
CONNECTION = re.compile(r"^    \.(\w+)\((.*)\),?$", re.M)


@dataclass(frozen=True)
class Exceptions:
    """What one variable of the file names. setup, hold: multipliers in cycles of the fast clock;
    way: -through or -to; patterns: names of pins or cells."""

    setup: int
    hold: int
    way: str
    patterns: tuple[str, ...]

    def names(self, candidates: list[str]) -> list[str]:
        """Those of the candidates that the patterns fit; brackets stand for themselves."""
        literal = [re.sub(r"[][]", r"[\g<0>]", p) for p in self.patterns]
        return [c for c in candidates if any(fnmatchcase(c, p) for p in literal)]


def path_exceptions() -> dict[str, Exceptions]:
    """{variable: its exceptions}."""
    text = re.sub(r"\\\n\s*", " ", (TCL_FOLDER / CONSTRAINTS).read_text())
    objects = dict(re.findall(r"^set (\w+) (\[get_(?:pins|cells).+\])$", text, re.M))
    found: dict[str, dict[str, tuple[int, str]]] = {name: {} for name in objects}
    for count, check, way, name in re.findall(
        r"^set_multicycle_path (\d) -(setup|hold) -end -from \$engine (-\w+) \$(\w+)$", text, re.M
    ):
        found[name][check] = (int(count), way)
    assert sum(map(len, found.values())) == text.count("\nset_multicycle_path")
    return {
        name: Exceptions(
            checks["setup"][0],
            checks["hold"][0],
            *{way for _, way in checks.values()},
            tuple(re.findall(r"NAME =~ (\S+?)[ }](?=[|\]])", objects[name])),
        )
        for name, checks in found.items()
    }


def plain(name: str) -> str:
    """Without the marks of an escaped name."""
    return name.removeprefix("\\").strip()


def netlist(files: dict[str, str]) -> tuple[list[str], list[str]]:
    """(pins of DSP slices, registers) as Vivado names them in the packaged IP, from the Verilog
    that synthesis reads."""
    modules = {}
    for name, text in files.items():
        if name.endswith(".v"):
            read = re.sub(r"`ifdef VERILATOR\n.*?`else\n", "", text, flags=re.S)
            for module in re.split(r"^(?=module )", read, flags=re.M)[1:]:
                modules[re.match(rf"module {TOKEN}", module)[1].strip()] = module
    pins: list[str] = []
    registers: list[str] = []

    def enter(module: str, path: str) -> None:
        for high, name in REGISTER.findall(modules[module]):
            bits = [f"[{k}]" for k in range(int(high) + 1)] if high else [""]
            registers.extend(f"{path}/{plain(name)}_reg{bit}" for bit in bits)
        for kind, name, connections in INSTANCE.findall(modules[module]):
            inner = f"{path}/{plain(name)}"
            if kind.strip() in modules:
                enter(kind.strip(), inner)
            elif kind == "DSP48E2":
                for pin, _ in CONNECTION.findall(connections):
                    wide = {"A": 30, "B": 18, "D": 27, "C": 48, "INMODE": 5, "ACIN": 30, "BCIN": 18}
                    count = wide.get(pin, 1)
                    pins.extend(
                        f"{inner}/{pin}[{k}]" if count > 1 else f"{inner}/{pin}"
                        for k in range(count)
                    )

    enter(TOP, "fpga_gen_i/accelerator/inst")
    return pins, registers
