"""Cell delays of the timing estimate, from delays.toml or a file of the user's."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

from fpga_gen.errors import ToolError

TABLE = Path(__file__).with_name("delays.toml")


@dataclass(frozen=True)
class Delays:
    """Picoseconds by cell of one family; what each is, and its source, stands in delays.toml."""

    lut: int
    mux: int
    carry_in: int
    carry_bit: int
    carry_out: int
    ff_out: int
    ff_data: int
    ff_control: int
    lutram_out: int
    lutram_write: int
    shift_out: int
    bram_out: int
    bram_out_registered: int
    bram_address: int
    bram_control: int
    bram_data: int
    uram_out: int
    uram_out_registered: int
    uram_address: int
    uram_control: int
    uram_data: int
    dsp_out: int
    dsp_out_product: int
    dsp_out_operand: int
    dsp_in: int
    dsp_in_product: int
    dsp_in_sum: int
    dsp_in_add: int
    dsp_control: int
    dsp_through: int


NAMES = frozenset(f.name for f in fields(Delays))


@cache
def default_delays(family: str) -> Delays:
    """The project's own constants of a family, "xcup" or "xc7"."""
    return Delays(**tomllib.loads(TABLE.read_text("utf-8"))[family])


def read_delays(path: Path, family: str) -> Delays:
    """The constants of a family with those replaced that a TOML file of the form of delays.toml
    names; ToolError says what in the file cannot be used."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ToolError("--delays", f"{path}: cannot be read: {error}") from error
    section = data.get(family)
    if not isinstance(section, dict):
        raise ToolError("--delays", f"{path}: no section [{family}], the family of this engine")
    for name, value in section.items():
        if name not in NAMES:
            raise ToolError(
                "--delays",
                f"{path}: [{family}] {name} is unknown; known: {', '.join(sorted(NAMES))}",
            )
        if type(value) is not int or not 0 <= value <= 100_000:
            raise ToolError("--delays", f"{path}: [{family}] {name} must be 0..100000 picoseconds")
    return replace(default_delays(family), **section)
