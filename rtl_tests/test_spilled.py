"""Networks whose maps leave the chip, through the generated Verilog: bits, traffic, cycles."""

from __future__ import annotations

import pytest

from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DEFAULT, DramConfig
from rtl_tests.networks import compile_network, run_network
from tests.schedule.graphs import example, random_example
from tests.schedule.starved import ENGINES, NETWORKS, loads

# The first test that needs a simulator compiles it, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)

# Thousands of cycles in which much is copied: the model has a POOL behind a LOAD too slow.
RELATIVE, ABSOLUTE = 0.11, DEFAULT.refresh_length + 64
SLOW = DramConfig(bytes_per_cycle=16, sustained=0.3, read_latency=250, write_latency=400)


@pytest.fixture(params=ENGINES)
def engine(request, simulator):
    """(name, parameters, compiled simulator)."""
    params = ENGINES[request.param]
    return request.param, params, simulator(params)


def network_of(name, params):
    made = random_example(params, name) if isinstance(name, int) else example(name, params)
    return compile_network(made, params)


def test_networks(engine):
    """Two frames each without a reset between them: every map and every result, traffic exactly,
    cycles nearly."""
    key, params, library = engine
    with SimulatedDevice(library, params) as device:
        for name in NETWORKS[key]:
            network = network_of(name, params)
            assert loads(network.schedule) > 1
            for seed in (1, 2):
                figures = run_network(device, network, seed=seed)
                estimate = network.schedule.estimate
                print(name, estimate.cycles, figures)
                assert figures.read_bytes == estimate.read_bytes
                assert figures.write_bytes == estimate.write_bytes
                allowed = RELATIVE * figures.cycles + ABSOLUTE
                assert abs(estimate.cycles - figures.cycles) <= allowed, name


def test_slow_responses(engine):
    """A band comes back right however late the DRAM says that it was written."""
    key, params, library = engine
    with SimulatedDevice(library, params, SLOW) as device:
        for name in NETWORKS[key][:3]:
            run_network(device, network_of(name, params))
