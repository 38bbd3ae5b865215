"""The host package's copies are what the generator writes."""

from __future__ import annotations

from pathlib import Path

import fpga_gen_host
import pytest
from fpga_gen_host import regions as layout
from fpga_gen_host import registers
from fpga_gen_host import registers as host_registers

from fpga_gen.deploy.host_constants import LAYOUT_HEADER, generated_files, main

FOLDER = Path(fpga_gen_host.__file__).parent
NAMES = ["registers.py", "layout.py", "identity.py", "picture_file.py"]


@pytest.mark.parametrize("name", NAMES)
def test_committed_file_equals_the_generator(name: str):
    text = generated_files()[name]
    assert (FOLDER / name).read_text() == text, (
        "run: python -m fpga_gen.deploy.host_constants host/fpga_gen_host"
    )


def test_layout_is_a_copy_below_its_header():
    copy = (FOLDER / "layout.py").read_bytes()
    header = LAYOUT_HEADER.encode()
    assert copy.startswith(header)
    assert copy[len(header) :] == Path(layout.__file__).read_bytes()


def test_every_constant_has_its_value():
    for name, value in registers.constants().items():
        assert getattr(host_registers, name) == value
    assert {code: text for code, (_, text) in host_registers.ERRORS.items()} == {
        int(code): text for code, text in registers.ERROR_DOCS.items()
    }


def test_command(tmp_path: Path, capsys):
    assert main([str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.iterdir()} == set(NAMES)
    assert main([]) == 2
    assert "usage" in capsys.readouterr().out
