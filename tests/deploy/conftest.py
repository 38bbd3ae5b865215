"""One recording of build.tcl for each board, and for each that can have it of an engine with two
clocks, and what it made."""

from __future__ import annotations

import pytest

from fpga_gen.boards import Board, board_names, load_board
from fpga_gen.contract.params import EngineParams
from tests.deploy.design import Core, Design, core_of, design_of
from tests.deploy.projects import run, small_engine
from tests.deploy.tcl import Recording

CASES = {name: (name, False) for name in board_names()} | {
    f"{name}-double": (name, True) for name in board_names() if load_board(name).max_dsp_mhz
}


@pytest.fixture(scope="session", params=CASES.values(), ids=CASES)
def case(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """Board, and whether the DSP columns run at twice the clock."""
    return request.param


@pytest.fixture(scope="session")
def board(case: tuple[str, bool]) -> Board:
    return load_board(case[0])


@pytest.fixture(scope="session")
def engine(case: tuple[str, bool], board: Board) -> EngineParams:
    return small_engine(board, case[1])


@pytest.fixture(scope="session")
def recording(
    board: Board, engine: EngineParams, tmp_path_factory: pytest.TempPathFactory
) -> Recording:
    done = run(tmp_path_factory.mktemp(board.name), board, engine=engine)
    assert done.status == 0, done.output
    return done


@pytest.fixture(scope="session")
def core(recording: Recording) -> Core:
    return core_of(recording)


@pytest.fixture(scope="session")
def design(recording: Recording) -> Design:
    return design_of(recording)
