"""Every operator with random shapes through the generated Verilog: bits, bytes and cycles."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fpga_gen.simulate.device import SimulatedDevice
from rtl_tests.networks import compile_network, run_network
from rtl_tests.test_networks import ABSOLUTE, ENGINES
from tests.schedule.shapes import OPERATORS

# These layers are so short that every hand-over and every refresh of the DRAM counts.
RELATIVE = 0.05
REFRESHES = 2

pytestmark = pytest.mark.timeout(900)  # the first test compiles a simulator


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("engine", ENGINES)
def test_operator(simulator, engine: str, operator: str) -> None:
    params = ENGINES[engine]
    with SimulatedDevice(simulator(params), params) as device:

        @settings(
            max_examples=12,
            derandomize=True,
            deadline=None,
            phases=[Phase.generate],  # a failing example is small as it is
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(data=st.data())
        def run(data: st.DataObject) -> None:
            network = compile_network(data.draw(OPERATORS[operator](params)), params)
            figures, estimate = run_network(device, network), network.schedule.estimate
            assert figures.read_bytes == estimate.read_bytes
            assert figures.write_bytes == estimate.write_bytes
            allowed = RELATIVE * figures.cycles + REFRESHES * ABSOLUTE
            assert abs(estimate.cycles - figures.cycles) <= allowed, (
                f"model {estimate.cycles} cycles, RTL {figures.cycles}"
            )

        run()
