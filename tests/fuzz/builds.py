"""Build directories whose content was changed and whose hashes fit: refused, or used unharmed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from fpga_gen import boards, cli, generated
from fpga_gen.builddir.artifacts import load_build
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import BuildDirError, QuantError
from fpga_gen.generated import check_project
from fpga_gen.hardware.common import design_hash
from fpga_gen.quant.interpreter import run_integer
from fpga_gen.report.render import enter_figures, read_report
from fpga_gen_host.regions import pack_input, unpack_output
from tests.builddir.hostile import change_json, change_structure, flip_array, rehash, spoil
from tests.cli.conftest import TINY_BOARD
from tests.cli.networks import write_model

KINDS = ("manifest.json", "layout.json", "report.json", "structure", "array")


def use(folder: Path) -> None:
    """What the commands do with a build directory, tools and hardware apart."""
    build = load_build(folder)
    check_project(build)
    assert build.clock_mhz > 0
    assert build.memory_rate > 0
    assert build.design_hash >= 0
    network, layout = build.network, build.layout
    tensor = network.tensors[network.input]
    stored = np.zeros((tensor.channels, tensor.height, tensor.width), np.int8)
    pack_input(layout.input, stored)
    unpack_output(layout.output, bytes(layout.output.bytes))
    run_integer(network, stored)
    read_report(build)
    enter_figures(build, accuracy=None)


def mutate(folder: Path, rng: random.Random) -> str:
    """One change of content that hashes do not tell; what was changed."""
    kind = rng.choice(KINDS)
    if kind == "structure":
        change_structure(folder / "quantised.npz", lambda data: spoil(data, rng))
    elif kind == "array":
        flip_array(folder / "quantised.npz", rng)
    else:
        change_json(folder / kind, lambda data: spoil(data, rng))
    if kind != "manifest.json":
        rehash(folder, [kind if kind.endswith(".json") else "quantised.npz"])
    return kind


def _remembered(params: EngineParams) -> dict[str, str]:
    """The Verilog of a true build's engine; nothing but the hash for parameters that were changed,
    whose Verilog takes seconds and is another one."""
    return generated._read(generated._record(params)) or {design_hash.FILE: ""}


@contextmanager
def without_generator() -> Iterator[None]:
    """Verilog comes from the cache alone, and none is entered there."""
    with patch.object(generated, "engine_verilog", _remembered):
        yield


@contextmanager
def good_build(place: Path) -> Iterator[Path]:
    """A build directory of a tiny network for the tests' tiny board, which exists meanwhile."""
    folder = place / "boards"
    for name in boards.board_names():
        shutil.copytree(boards.boards_folder() / name, folder / name)
    (folder / "tiny").mkdir()
    (folder / "tiny" / "board.toml").write_text(TINY_BOARD)
    model = write_model(place / "net.onnx")
    with patch.object(boards, "_FOLDERS", (folder,)):
        code = cli.run(["build", str(model), "--board", "tiny", "-o", str(place / "out"), "-q"])
        assert code == 0, "the good build failed"
        with without_generator():
            yield place / "out"


class Attempt:
    """Attempts on copies of one good build directory."""

    def __init__(self, built: Path) -> None:
        self.built = built

    def __call__(self, rng: random.Random, folder: Path) -> str:
        copy = Path(shutil.copytree(self.built, folder / "out"))
        try:
            kind = mutate(copy, rng)
            use(copy)
            how = f"used ({kind})"
        except (BuildDirError, QuantError):
            how = "refused"
        shutil.rmtree(copy)
        return how
