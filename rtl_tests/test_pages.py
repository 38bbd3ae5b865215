"""Programs longer than the program memory on the whole accelerator: bits, bytes, cycles, faults."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fpga_gen.contract.isa import Instruction, Op, StoreInstruction
from fpga_gen.schedule.compile import encode_program, program_region
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.runner import Frame
from fpga_gen_host.registers import ErrorCode
from rtl_tests.networks import Network, compile_network, run_network
from rtl_tests.test_networks import MEMORIES, check_model
from rtl_tests.test_recovery import MEMORY, Outcome, attempt
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES, example
from tests.schedule.large_windows import large_windows
from tests.schedule.paging import long_program, random_cuts

pytestmark = pytest.mark.timeout(900)

TINY = replace(SMALL, program_words=128)
PORTS = replace(THREE_MODES, ports=2, program_words=128)


@pytest.fixture(scope="module")
def network() -> Network:
    network = compile_network(long_program(TINY), TINY)
    words = sum(i.encoded_words for i in network.schedule.instructions)
    assert words > 3 * TINY.program_words
    return network


@pytest.fixture
def device(simulator):
    with SimulatedDevice(simulator(TINY), TINY, MEMORY) as device:
        yield device


def test_program_three_times_the_memory(simulator, network):
    """Bits, bytes, and cycles within 2 %."""
    with SimulatedDevice(simulator(TINY), TINY) as device:
        for seed in (1, 2):
            check_model(network, run_network(device, network, seed=seed), absolute=0)


@pytest.mark.parametrize("params", [TINY, PORTS], ids=["one-port", "two-ports"])
def test_pages_anywhere(simulator, params):
    """Random sizes at random places."""
    with SimulatedDevice(simulator(params), params) as device:
        for seed in range(8):
            with random_cuts(seed):
                network = compile_network(long_program(params), params)
            check_model(network, run_network(device, network, seed=seed))


@pytest.mark.parametrize("memory", MEMORIES)
def test_any_memory(simulator, network, memory):
    with SimulatedDevice(simulator(TINY), TINY, MEMORIES[memory]) as device:
        figures = run_network(device, network)
    assert figures.read_bytes == network.schedule.estimate.read_bytes


def test_examples(simulator):
    """Long tables, few words of memory."""
    with SimulatedDevice(simulator(TINY), TINY) as device:
        for name in ("separable", "grouped", "depthwise", "links"):
            network = compile_network(example(name, TINY), TINY)
            assert any(i.op == Op.PAGE for i in network.schedule.instructions)
            check_model(network, run_network(device, network))


def test_global_pools_and_gemms_beyond_the_limits(simulator, tmp_path):
    network = compile_network(large_windows(tmp_path, SMALL), SMALL)
    with SimulatedDevice(simulator(SMALL), SMALL) as device:
        check_model(network, run_network(device, network))


def with_program(network: Network, instructions: list[Instruction]) -> Frame:
    """The frame with the first fill of another program; the pages stay as they are."""
    words = encode_program(instructions)[: TINY.program_words]
    return replace(network.frame, program=program_region(words, TINY))


def with_page(network: Network, **fields: int) -> Frame:
    """Fields of the first PAGE changed."""
    instructions = list(network.schedule.instructions)
    at = next(n for n, i in enumerate(instructions) if i.op == Op.PAGE)
    instructions[at] = replace(instructions[at], **fields)
    return with_program(network, instructions)


def test_bad_pages(device, network):
    """Too large, empty, missing, more than the stream holds: a code, and then a good frame."""
    page = next(i for i in network.schedule.instructions if i.op == Op.PAGE)
    room = TINY.program_words // TINY.program_parts
    cases = [
        (with_page(network, words=page.words + room), ErrorCode.PROGRAM_OVERFLOW),
        (with_page(network, words=0), ErrorCode.BAD_INSTRUCTION),
    ]
    # A STORE of no words in place of the PAGE: the program ends with the memory.
    instructions = list(network.schedule.instructions)
    instructions[instructions.index(page)] = StoreInstruction()
    cases.append((with_program(network, instructions), ErrorCode.PROGRAM_OVERFLOW))
    for frame, code in cases:
        assert attempt(device, frame).code is code
        run_network(device, network)


def test_stream_that_ends_within_a_page(device, network):
    """The watchdog ends the run, wherever the words of the pages are missing."""
    instructions = list(network.schedule.instructions)
    fetch = [n for n, i in enumerate(instructions) if i.op == Op.FETCH][1]
    whole = instructions[fetch].words
    for words in range(1, whole, whole // 40):
        short = list(instructions)
        short[fetch] = replace(short[fetch], words=words)
        assert attempt(device, with_program(network, short)) == Outcome(ErrorCode.WATCHDOG)
    run_network(device, network)


def test_flipped_bits_of_pages(device, network):
    """Any single flipped bit of a page: no hang, and the next frame is right."""
    rng = random.Random(5)
    positions = []
    at = 0  # stream words of the weight region
    for instruction, span in zip(
        network.schedule.instructions, network.schedule.timeline.spans, strict=True
    ):
        if instruction.op == Op.PAGE:
            at = -(-at // TINY.stream_granules) * TINY.stream_granules
            positions += range(4 * at, 4 * at + 16 * instruction.words)
            at += TINY.stream_granules * instruction.words
        elif instruction.op != Op.LOAD:
            at += span.stream_granules
    seen = []
    for index in range(80):
        spoilt = bytearray(network.frame.weights)
        spoilt[rng.choice(positions)] ^= 1 << rng.randrange(8)
        seen.append(attempt(device, replace(network.frame, weights=bytes(spoilt)), 40_000).code)
        if index % 10 == 0:
            run_network(device, network, seed=index)
    run_network(device, network)
    assert {ErrorCode.NONE, ErrorCode.WATCHDOG} <= set(seen)
    assert None not in seen
