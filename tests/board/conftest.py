"""Virtual boards of a tiny network for the small engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rtl_tests.verilator import CACHE
from tests.board.network import segmentation_network
from tests.engines import SMALL

if TYPE_CHECKING:
    from fpga_gen.quant.ir import QuantGraph
    from tests.board.running import Running

MEMORY_MB = 8
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # the client's gRPC too, see fpga_gen.board


@pytest.fixture(scope="session", autouse=True)
def simulator_cache() -> Iterator[None]:
    """The simulator that other tests compile of the same Verilog."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPGA_GEN_CACHE", str(CACHE / "accelerators"))
        yield


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> QuantGraph:
    return segmentation_network(tmp_path_factory.mktemp("network"), SMALL)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, graph: QuantGraph) -> Path:
    from tests.board.running import write_board_build

    return write_board_build(tmp_path_factory.mktemp("board") / "deploy", graph)


@pytest.fixture(scope="session")
def board(built: Path) -> Iterator[Running]:
    """The virtual board of `built`; it first has to compile the simulator."""
    from fpga_gen.board.server import BoardServer
    from fpga_gen.flows.board import start_board
    from tests.board.running import Running, free_address

    flow = start_board(built, MEMORY_MB)
    address = free_address()
    server = BoardServer(flow.machine, address)
    yield Running(address, flow, server)
    server.stop()
    flow.machine.close()
