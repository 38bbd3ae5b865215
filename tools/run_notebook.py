"""Runs the notebook on the virtual board of a build directory and stores it with its outputs.

    python -m tools.run_notebook build/demo/zcu104

With HarDNet-MSEG the board simulates some frames, a minute each on a quiet machine. Paths of this
machine and the steps of progress bars are left out of what is stored.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "host" / "notebooks" / "polyp_segmentation.ipynb"
CELL_SECONDS = 4 * 3600  # a frame on a busy machine
ADDRESS = "127.0.0.1"


def execute(folder: Path, deploy: Path, address: str, seconds: float) -> Any:
    """The notebook, executed in `folder`, a copy of its own, against the board at `address`."""
    notebook = nbformat.read(folder / NOTEBOOK.name, as_version=4)
    environment = {
        **os.environ,
        "PYNQ_REMOTE_DEVICES": address,
        "FPGA_GEN_DEPLOY": str(deploy),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "host"))),
        "PYTHONWARNINGS": "ignore",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    environment.pop("FPGA_GEN_PICTURES", None)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=int(seconds), resources=resources).execute(
        env=environment
    )
    return notebook


def tidy(notebook: Any, deploy: Path) -> None:
    """Leaves what a reader sees: no times of cells, no steps of progress bars, no paths."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        kept: list[Any] = []
        for output in cell.get("outputs", ()):
            if "text" in output and not output["text"].strip():
                continue
            same = kept and "text" in output and kept[-1].get("name") == output.get("name")
            if same:
                kept[-1]["text"] += output["text"]
            else:
                kept.append(output)
        for output in kept:
            if "text" in output:
                lines = (line.split("\r")[-1] for line in output["text"].split("\n"))
                output["text"] = "\n".join(lines).replace(str(deploy), "deploy")
        if "outputs" in cell:
            cell.outputs = kept


def main() -> None:
    """The command line. Only it needs a board; the test of the notebook brings its own."""
    from fpga_gen.board.server import BoardServer
    from fpga_gen.flows.board import start_board
    from fpga_gen.flows.reference import write_references

    parser = argparse.ArgumentParser(prog="tools.run_notebook", description=__doc__)
    parser.add_argument("deploy", type=Path, help="build directory")
    deploy = parser.parse_args().deploy.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(shutil.copytree(NOTEBOOK.parent, name, dirs_exist_ok=True))
        one = folder / "one"  # of the three pictures, for the comparison
        one.mkdir()
        shutil.copy(folder / "pictures" / "phantom-0.jpg", one)
        write_references(deploy, one)
        flow = start_board(
            deploy, on_frame=lambda frame: print(f"{frame.seconds:.0f} s", flush=True)
        )
        server = BoardServer(flow.machine, ADDRESS)
        try:
            notebook = execute(folder, deploy, ADDRESS, CELL_SECONDS)
        finally:
            server.stop()
            flow.machine.close()
    tidy(notebook, deploy)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
