"""The notebook as a user runs it, on the virtual board, with its outputs checked."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.board.running import Running
from tools.run_notebook import NOTEBOOK, execute, tidy

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def executed(board: Running, tmp_path_factory: pytest.TempPathFactory):
    """The notebook with its outputs; the deploy folder holds reference vectors."""
    from fpga_gen.flows.reference import write_references

    folder = tmp_path_factory.mktemp("notebook")
    shutil.copytree(NOTEBOOK.parent, folder, dirs_exist_ok=True)
    write_references(board.folder, folder / "pictures")
    notebook = execute(folder, board.folder, board.address, 300)
    tidy(notebook, board.folder)
    return notebook


def text_of(notebook, marker: str) -> str:
    """Printed text of the cell whose source holds `marker`."""
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and marker in c.source]
    return "".join(o.get("text", "") for o in cell.outputs)


def images_of(notebook, marker: str) -> int:
    (cell,) = [c for c in notebook.cells if c.cell_type == "code" and marker in c.source]
    return sum("image/png" in o.get("data", {}) for o in cell.outputs)


def test_no_cell_fails(executed):
    kinds = {o.output_type for c in executed.cells for o in c.get("outputs", ())}
    assert "error" not in kinds


def test_one_picture(executed):
    assert "fpga_gen.bit" in text_of(executed, "Accelerator(DEPLOY)")
    text = text_of(executed, "next(frames(PICTURES))")
    cycles = int(re.search(r"([\d,]+) cycles", text)[1].replace(",", ""))
    assert 1000 < cycles < 100_000
    assert images_of(executed, "next(frames(PICTURES))") == 1


def test_folder_with_progress(executed):
    text = text_of(executed, "run_many")
    assert "3/3" in text
    shares = [float(v) for v in re.findall(r"picture \d: ([\d.]+)%", text)]
    assert len(shares) == 3
    assert all(2 < v < 15 for v in shares)  # the phantoms have one polyp each, 6 % of the pixels


def test_rates_and_energy(executed):
    text = text_of(executed, "joules_per_frame")
    assert float(re.search(r"accelerator: ([\d.]+) frames/s", text)[1]) > 1000
    assert float(re.search(r"end to end: ([\d.]+) frames/s", text)[1]) > 1
    assert "energy:" in text


def test_layer_chart(executed):
    assert images_of(executed, "layer_times") == 1
    text = text_of(executed, "layer_times")
    assert int(re.search(r"(\d+) layers", text)[1]) >= 3


def test_comparison_with_the_reference(executed):
    text = text_of(executed, "compare_with_reference(accelerator)")
    assert len(re.findall(r"phantom-\d: [\d,]+ values, bit-exact", text)) == 3
    assert "differ" not in text


def test_what_is_shown_says_where_it_comes_from(executed):
    assert "virtual board, not hardware" in text_of(executed, "Accelerator(DEPLOY)")
    assert images_of(executed, "run_many") == 1
    everything = nbformat.writes(executed)
    assert str(Path.home()) not in everything
    assert "\r" not in everything


def test_the_notebook_is_stored_with_its_outputs():
    """Of the virtual board, from a run of all cells in order, with pictures and no paths."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    assert not any(o.output_type == "error" for c in cells for o in c.outputs)
    assert "virtual board, not hardware" in text_of(notebook, "Accelerator(DEPLOY)")
    for marker in ("next(frames(PICTURES))", "run_many", "layer_times"):
        assert images_of(notebook, marker) == 1, marker
    assert "bit-exact" in text_of(notebook, "compare_with_reference(accelerator)")
    text = NOTEBOOK.read_text()
    assert not re.search(r"/(home|root|tmp|Users)/", text)
    assert len(text) < 2_000_000
