"""Networks with tables and gates through the generated Verilog: every map, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpga_gen.simulate.device import SimulatedDevice
from rtl_tests.networks import compile_network, run_network
from rtl_tests.test_networks import check_model
from tests.engines import TABLES
from tests.schedule.activations import MANY, MODELS, NETWORKS, of_model
from tests.schedule.graphs import random_example

pytestmark = pytest.mark.timeout(900)  # the first test compiles a simulator
SEEDS = range(12)


@pytest.mark.parametrize("name", [*NETWORKS, *SEEDS])
def test_network(simulator, name) -> None:
    """Two frames: bits, traffic and cycles."""
    if isinstance(name, int):
        example = random_example(TABLES, name, 10, curves=MANY)
    else:
        example = NETWORKS[name](TABLES)
    network = compile_network(example, TABLES)
    with SimulatedDevice(simulator(TABLES), TABLES) as device:
        for seed in (1, 2):
            check_model(network, run_network(device, network, seed=seed))


@pytest.mark.parametrize("name", MODELS)
def test_model(simulator, name: str, tmp_path: Path) -> None:
    network = compile_network(of_model(MODELS[name](), TABLES, tmp_path), TABLES)
    with SimulatedDevice(simulator(TABLES), TABLES) as device:
        check_model(network, run_network(device, network))
