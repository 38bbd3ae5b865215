"""Zero skipping in the RTL: networks with zero slots, bit for bit, bytes exactly, cycles within the
model's tolerance, beside the same networks without skipping."""

from __future__ import annotations

import pytest

from fpga_gen.contract.isa import ConvInstruction
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.simulate.device import SimulatedDevice
from rtl_tests.networks import compile_network, run_network
from rtl_tests.test_networks import ABSOLUTE, ENGINES, MEMORIES, check_model
from tests.schedule.zeros import EXAMPLES, random_zeros, zero_example

pytestmark = pytest.mark.timeout(900)

SEEDS = range(12)
# Groups of a few slots wait for their heads longer than the model has it: up to 140 cycles in all
# of these networks of 2,000 to 30,000 cycles, 0.15 % of the pruned HarDNet-MSEG.
HEADS = 100


@pytest.fixture(params=ENGINES)
def engine(request, simulator):
    """(parameters, compiled simulator)."""
    params = ENGINES[request.param]
    return params, simulator(params)


@pytest.mark.parametrize("name", [*EXAMPLES, *SEEDS])
def test_network(engine, name):
    """Two frames: replays, lists and heads begin anew."""
    params, library = engine
    item = random_zeros(params, name) if isinstance(name, int) else zero_example(name, params)
    network = compile_network(item, params)
    with SimulatedDevice(library, params) as device:
        for seed in (1, 2):
            figures = run_network(device, network, seed=seed)
            check_model(network, figures, absolute=ABSOLUTE + HEADS)


@pytest.mark.parametrize("memory", MEMORIES)
def test_any_memory(engine, memory):
    """A head may come late, or in pieces; dense networks share the device."""
    params, library = engine
    with SimulatedDevice(library, params, MEMORIES[memory]) as device:
        for index, name in enumerate(("holes", "wide", "first-and-last", "halves")):
            network = compile_network(zero_example(name, params), params)
            figures = run_network(device, network, seed=index)
            estimate = network.schedule.estimate
            assert figures.read_bytes == estimate.read_bytes
            assert figures.write_bytes == estimate.write_bytes


def test_skipping_pays(engine):
    """Simulated cycles and bytes, with and without."""
    params, library = engine
    item = zero_example("holes", params)
    skipping = compile_network(item, params)
    assert any(i.list_words for i in skipping.schedule.instructions
               if isinstance(i, ConvInstruction))  # fmt: skip
    dense = compile_schedule(item.graph, params, skip=False)
    with SimulatedDevice(library, params) as device:
        figures = run_network(device, skipping)
    assert figures.cycles < dense.estimate.cycles * 0.95
    assert figures.read_bytes < dense.estimate.read_bytes
