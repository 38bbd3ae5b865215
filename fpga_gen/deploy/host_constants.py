"""Files of the host package that follow from this package: registers, layouts, identity, pictures.

`python -m fpga_gen.deploy.host_constants host/fpga_gen_host` writes them. The host package imports
nothing from here, so it carries copies; a test keeps them equal.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fpga_gen_host import identity, picture_file
from fpga_gen_host import regions as layout
from fpga_gen_host.digest import digest_of
from fpga_gen_host.registers import ERROR_DOCS, constants, describe

LAYOUT_HEADER = "# Generated from host/fpga_gen_host/regions.py; do not edit.\n"
PICTURE_HEADER = "# Generated from host/fpga_gen_host/picture_file.py; do not edit.\n"


def registers_source() -> str:
    """Python source of the register constants and the texts of the error codes."""
    names = constants()
    offsets = [n for n, v in names.items() if not n.startswith("ERROR_")]
    lines = [
        '"""Register constants. Generated from host/fpga_gen_host/registers.py; do not edit.',
        "",
        "NAME: byte offset of a register; NAME_FIELD_MASK, _SHIFT: a field of it. DIGEST: of the",
        "whole table, as the manifest of a build names it.",
        '"""',
        "",
        f'DIGEST = "{digest_of(describe())}"',
        *(f"{n} = {_number(n, names[n], names)}" for n in offsets),
        "",
        *(f"{n} = {v}" for n, v in names.items() if n not in offsets),
        "",
        "ERRORS = {  # STATUS.error_code: name, meaning",
    ]
    for code, text in ERROR_DOCS.items():
        lines.append(f'    {int(code)}: (\n        "{code.name}",\n        "{text}",\n    ),')
    return "\n".join([*lines, "}", ""])


def _number(name: str, value: int, names: dict[str, int]) -> str:
    field = name.endswith("_SHIFT") and f"{name.removesuffix('_SHIFT')}_MASK" in names
    decimal = field or name in ("INTERFACE_VERSION", "LAYER_LOG_DEPTH", "RUN_FACTOR", "RUN_SLACK")
    return str(value) if decimal else f"0x{value:02X}"


def layout_source() -> str:
    """The layout module below one header line."""
    return LAYOUT_HEADER + Path(layout.__file__).read_text()


def picture_source() -> str:
    """The module that reads picture files below one header line."""
    return PICTURE_HEADER + Path(picture_file.__file__).read_text()


def identity_source() -> str:
    """Python source of the names under which a bitstream holds the accelerator."""
    lines = [
        '"""Names in a bitstream. Generated from host/fpga_gen_host/identity.py; do not edit.',
        "",
        "VLNVS: as RTL module in a block design, and as packaged IP; CELL: its instance in the",
        "generated block design; DESIGN: stem of the .bit and the .hwh; INTERRUPT: the pin.",
        '"""',
        "",
    ]
    for name, value in identity.host_constants().items():
        if isinstance(value, tuple):
            lines += [f"{name} = (", *(f'    "{item}",' for item in value), ")"]
        else:
            lines.append(f'{name} = "{value}"')
    return "\n".join([*lines, ""])


def generated_files() -> dict[str, str]:
    """Text by file name in the package folder of the host package."""
    return {
        "registers.py": registers_source(),
        "layout.py": layout_source(),
        "identity.py": identity_source(),
        "picture_file.py": picture_source(),
    }


def main(arguments: list[str]) -> int:
    """Writes the generated files into the folder given as the only argument."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m fpga_gen.deploy.host_constants HOST_PACKAGE_FOLDER")
        return 2
    for name, text in generated_files().items():
        (Path(arguments[0]) / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
