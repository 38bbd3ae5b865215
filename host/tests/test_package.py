"""What the package may import, and that it reads as Python 3.10."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fpga_gen_host"
SOURCES = sorted(PACKAGE.glob("*.py"))
ALLOWED = {"numpy", "PIL", "pynq", "cv2", "fpga_gen_host"} | set(sys.stdlib_module_names)
OF_THE_PAGE = {"starlette", "uvicorn"}  # the extra `live`


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_imports(path: Path):
    tree = ast.parse(path.read_text(), feature_version=(3, 10))
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used.add((node.module or "").split(".")[0])
    assert used <= ALLOWED | (OF_THE_PAGE if path.stem == "live" else set())


def test_neither_pynq_nor_opencv_at_import():
    code = (
        "import sys; sys.modules['pynq'] = sys.modules['cv2'] = None; import fpga_gen_host, "
        "fpga_gen_host.pynq_device, fpga_gen_host.polyp, fpga_gen_host.video; "
        "sys.exit('fpga_gen' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0
