"""Selections, crops and phases of maps through the generated Verilog, bit for bit."""

from pathlib import Path

import pytest

from fpga_gen.simulate.device import SimulatedDevice
from rtl_tests.networks import compile_network, run_network
from tests.engines import SMALL
from tests.schedule.foreign import NETWORKS, foreign

# The first test that needs a simulator compiles it, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, simulator, tmp_path: Path) -> None:
    network = compile_network(foreign(name, SMALL, tmp_path), SMALL)
    with SimulatedDevice(simulator(SMALL), SMALL) as device:
        run_network(device, network)
