"""Whole networks through the generated Verilog: every map, every output, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fpga_gen.contract.isa import EndInstruction, StoreInstruction
from fpga_gen.contract.numerics import U8
from fpga_gen.contract.params import EngineParams
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DEFAULT, DramConfig
from fpga_gen.simulate.runner import Frame, open_engine
from fpga_gen_host.regions import stripe
from rtl_tests.networks import (
    DONE,
    WATCHDOG,
    Figures,
    Network,
    compile_network,
    fill_with_noise,
    finish,
    run_network,
)
from tests.engines import PAIRS, SMALL
from tests.schedule.graphs import (
    DOUBLE_CLOCK,
    EXAMPLES,
    THREE_MODES,
    THREE_PAIRS,
    Builder,
    Example,
    example,
    random_example,
)
from tests.schedule.residual import BLOCKS, residual

# The first test that needs a simulator compiles it, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)

ENGINES = {
    "two-modes": SMALL,
    "three-modes": THREE_MODES,
    "double-clock": DOUBLE_CLOCK,
    "pairs": PAIRS,
    "three-pairs": THREE_PAIRS,
}
SEEDS = range(24)
# The model's cycles are within 2 % of the RTL's and, because the examples are short, one refresh of
# the DRAM, which a run meets or just misses, and some cycles at its start.
RELATIVE = 0.02
ABSOLUTE = DEFAULT.refresh_length + 16
MEMORIES = {
    "slow": DramConfig(bytes_per_cycle=16, sustained=0.3, read_latency=250, write_latency=120),
    "prompt": DramConfig(
        bytes_per_cycle=256, sustained=1.0, refresh_interval=0, refresh_length=0,
        read_latency=2, write_latency=2,
    ),
    "single-file": DramConfig(outstanding=1, read_latency=90),
    "jitter-1": DramConfig(jitter=0.3, jitter_latency=40, seed=1),
    "jitter-2": DramConfig(jitter=0.7, jitter_latency=5, seed=2),
}  # fmt: skip


@pytest.fixture(params=ENGINES)
def engine(request, simulator):
    """(parameters, compiled simulator)."""
    params = ENGINES[request.param]
    return params, simulator(params)


def make(name: str | int, params: EngineParams) -> Example:
    """A named example or a random one."""
    return random_example(params, name) if isinstance(name, int) else example(name, params)


def check_model(
    network: Network, figures: Figures, absolute: int = ABSOLUTE, relative: float = RELATIVE
) -> None:
    """Bytes exactly, cycles within the tolerance."""
    estimate = network.schedule.estimate
    assert (figures.read_bytes, figures.write_bytes) == (
        estimate.read_bytes,
        estimate.write_bytes,
    )
    allowed = relative * figures.cycles + absolute
    assert abs(estimate.cycles - figures.cycles) <= allowed, (
        f"model {estimate.cycles} cycles, RTL {figures.cycles}"
    )


@pytest.mark.parametrize("name", [*EXAMPLES, *SEEDS])
def test_network(engine, name):
    """Two frames without a reset between them: bits, traffic and cycles."""
    params, library = engine
    network = compile_network(make(name, params), params)
    with SimulatedDevice(library, params) as device:
        for seed in (1, 2):
            check_model(network, run_network(device, network, seed=seed))


@pytest.mark.parametrize("memory", MEMORIES)
def test_any_memory(engine, memory):
    """Timing of the DRAM changes neither bits nor bytes; different networks share the device."""
    params, library = engine
    with SimulatedDevice(library, params, MEMORIES[memory]) as device:
        for index, name in enumerate(("elementwise", "resample", "channels", "pool", "wide", 4)):
            network = compile_network(make(name, params), params)
            figures = run_network(device, network, seed=index)
            estimate = network.schedule.estimate
            assert figures.read_bytes == estimate.read_bytes
            assert figures.write_bytes == estimate.write_bytes


def long_network(params: EngineParams) -> Example:
    """Stem, pool, layers whose weights are replayed over many tiles, layers that stream weights."""
    b = Builder("long", params)
    x = b.simple(b.input(3, 64, 60), 16, 3, U8, stride=(2, 2))
    x = b.pool(x, 2, 2)
    y = b.simple(x, 20, 3, U8, top=60)
    z = b.simple((x, y), 24, 3, U8, top=60)
    small = b.pool(z, 3, 2, (1, 1, 1, 1))
    wide = b.simple(small, 72, 1, U8)
    b.simple((wide, small), 40, 3, U8, top=40)
    return b.example()


def test_cycle_model_of_a_longer_network(engine):
    """Long enough for 2 % and nothing more."""
    params, library = engine
    network = compile_network(long_network(params), params)
    with SimulatedDevice(library, params) as device:
        figures = run_network(device, network)
    assert figures.cycles > 15_000
    check_model(network, figures, absolute=0)


def test_two_exit_pixels_at_twice_the_clock(simulator):
    """With fewer columns than a word has channels, and every word a beat of its own."""
    params = replace(DOUBLE_CLOCK, pixels=4, exit_pixels=2)
    with SimulatedDevice(simulator(params), params) as device:
        for example_ in (long_network(params), *(make(name, params) for name in EXAMPLES)):
            network = compile_network(example_, params)
            check_model(network, run_network(device, network))


@pytest.mark.parametrize("block", BLOCKS)
def test_residual_blocks(simulator, block):
    """ResNet's blocks, strided shortcuts included, as optimiser and quantiser leave them."""
    network = compile_network(residual(block, SMALL), SMALL)
    with SimulatedDevice(simulator(SMALL), SMALL) as device:
        check_model(network, run_network(device, network))


def test_comparison_sees_wrong_weights(simulator):
    """The comparison of this file can fail: changed weights are a named layer."""
    network = compile_network(example("conv3x3", SMALL), SMALL)
    weights = bytearray(network.frame.weights)
    middle = len(weights) // 2
    for at in range(middle, middle + 8):  # one byte may be of a column that nobody reads
        weights[at] ^= 0x10
    spoilt = replace(network, frame=replace(network.frame, weights=bytes(weights)))
    with SimulatedDevice(simulator(SMALL), SMALL) as device:
        with pytest.raises(AssertionError, match=r"layer 'conv\d' .*: expected -?\d+, got"):
            run_network(device, spoilt)
        run_network(device, network)


def test_noise_reaches_the_design(simulator):
    """A program that stores what it never wrote gets the noise: it is in the real memory."""
    words = SMALL.banks * 8
    code = StoreInstruction(words=words).encode() + EndInstruction(wait=1).encode()
    code += [0] * (-len(code) % 2)
    program = stripe(np.array(code, "<u8").view(np.uint8).reshape(-1, 16), SMALL.ports)
    frame = Frame(program, b"", b"", words * SMALL.in_channels)
    with SimulatedDevice(simulator(SMALL), SMALL) as device:
        engine, slot = open_engine(device, frame, WATCHDOG)
        fill_with_noise(device, slot.output, seed=5)
        noise = device.read_banks(0, 8).transpose(1, 0, 2).tobytes()
        number = engine.start(slot)
        device.run_to_interrupt(5000)
        assert finish(engine, number)[0] == DONE
    assert slot.output.tobytes() == noise
    assert len(set(noise)) > 60
