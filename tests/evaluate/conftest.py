"""A network whose mask is known beforehand: foreground is where the picture is bright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from fpga_gen import boards
from fpga_gen.cli import run
from fpga_gen.images import write_png
from tests.cli.conftest import board_files, cli, tiny_board

__all__ = ["board_files", "cli", "tiny_board"]  # fixtures of the command line's tests

SIZE = 12


def write_bright(path: Path, *, sigmoid: bool = True, gain: float = 1.0) -> Path:
    """ONNX: logit +2 on white, -2 on black (pictures in 0..1), one 12 x 12 map."""
    arrays = {
        "w0": np.full((4, 3, 1, 1), gain / 3, np.float32),
        "w1": np.ones((1, 4, 1, 1), np.float32),
        "b1": np.full(1, -2, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["a"], name="grey"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w1", "b1"], ["c"], name="head"),
    ]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["c"], ["d"], name="sigmoid"))
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info(
                "d" if sigmoid else "c", TensorProto.FLOAT, [1, 1, SIZE, SIZE]
            )
        ],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    """bool (12, 12): True in the box."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[top:bottom, left:right] = True
    return mask


def write_mask(path: Path, mask: np.ndarray) -> None:
    write_png(path, mask.astype(np.uint8) * 255)


@pytest.fixture(scope="session")
def bright(board_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with bright.onnx, its build `out`, and a labelled folder images/ and masks/.

    Dice: good 1 (exact), half 2*16/(32+16) = 2/3, lost 0, empty 1 (nothing there, nothing found).
    """
    folder = tmp_path_factory.mktemp("bright")
    model = write_bright(folder / "bright.onnx")
    found = {
        "good": (box(2, 2, 6, 6), box(2, 2, 6, 6)),
        "half": (box(2, 2, 6, 10), box(2, 2, 6, 6)),
        "lost": (box(0, 0, 3, 3), box(6, 6, 12, 12)),
        "empty": (box(0, 0, 0, 0), box(0, 0, 0, 0)),
    }
    for name, (seen, truth) in found.items():
        write_png(
            folder / "images" / f"{name}.png", np.repeat(seen[..., None], 3, 2) * np.uint8(255)
        )
        write_mask(folder / "masks" / f"{name}.png", truth)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boards, "_FOLDERS", (board_files,))
        options = ["--normalise", "unit", "--calibration", str(folder / "images"), "-q"]
        command = ["build", str(model), "--board", "tiny", "-o", str(folder / "out"), *options]
        assert run(command) == 0
    return folder
