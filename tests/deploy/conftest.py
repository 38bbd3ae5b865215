"""One recording of build.tcl for each board, and what it made."""

from __future__ import annotations

import pytest

from fpga_gen.boards import Board, board_names, load_board
from tests.deploy.design import Core, Design, core_of, design_of
from tests.deploy.projects import run
from tests.deploy.tcl import MISSING, Recording, interpreter


@pytest.fixture(scope="session", params=board_names())
def board(request: pytest.FixtureRequest) -> Board:
    return load_board(request.param)


@pytest.fixture(scope="session")
def recording(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    if interpreter() is None:
        pytest.skip(MISSING)
    done = run(tmp_path_factory.mktemp(board.name), board)
    assert done.status == 0, done.output
    return done


@pytest.fixture(scope="session")
def core(recording: Recording) -> Core:
    return core_of(recording)


@pytest.fixture(scope="session")
def design(recording: Recording) -> Design:
    return design_of(recording)
