"""Faults of memory, program and driver: an error code in time, and then a good frame as if nothing
had happened. The fast simulator makes room for sweeps over the whole of a run."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

from fpga_gen.contract.isa import DECODER_OPS, Op
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import FaultKind, StopReason
from fpga_gen.simulate.runner import (
    Frame,
    open_engine,
)
from fpga_gen_host.regions import stripe, unstripe
from fpga_gen_host.registers import ErrorCode, constants
from rtl_tests.networks import DONE, Network, compile_network, finish, run_network
from tests.engines import SMALL
from tests.schedule.graphs import Builder, Example, example

pytestmark = pytest.mark.timeout(900)

R = constants()
WATCHDOG = 400
LIMIT = 12_000  # cycles; every run of this file ends earlier or is reset by the test
MEMORY = DramConfig(jitter=0.2, jitter_latency=20, refresh_interval=0, refresh_length=0)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: error code and info of STATUS; None if it still ran at LIMIT."""

    code: ErrorCode | None
    info: int = 0


@pytest.fixture
def device(simulator):
    with SimulatedDevice(simulator(SMALL), SMALL, MEMORY) as device:
        yield device


@pytest.fixture(scope="module")
def network() -> Network:
    """Every opcode but PAGE (see test_pages): LOAD, CONV, POOL, VECTOR, STORE."""
    b = Builder("recovery", SMALL)
    x = b.simple(b.input(5, 6, 6), 6, 3)
    y = b.pool(x, 2, 2)
    z = b.mul(y, y, b.tensors[y].format)
    built: Example = b.example(x, z)
    network = compile_network(built, SMALL)
    assert {i.op for i in network.schedule.instructions} == set(Op) - {Op.PAGE, Op.TABLE}
    return network


def attempt(
    device: SimulatedDevice, frame: Frame, limit: int = LIMIT, watchdog: int = WATCHDOG
) -> Outcome:
    """Run a frame that may fail; afterwards the interrupt is low and nothing is outstanding."""
    engine, slot = open_engine(device, frame, watchdog)
    number = engine.start(slot)
    if device.run(limit) is not StopReason.INTERRUPT:
        engine.reset()
        return Outcome(None)
    status, _ = finish(engine, number)
    assert not status & R["STATUS_BUSY_MASK"]
    failed = bool(status & R["STATUS_ERROR_MASK"])
    assert failed != bool(status & R["STATUS_DONE_MASK"])
    code = ErrorCode(status >> R["STATUS_ERROR_CODE_SHIFT"] & 0xFF)
    assert failed == (code is not ErrorCode.NONE)
    return Outcome(code, status >> R["STATUS_ERROR_INFO_SHIFT"])


def with_words(frame: Frame, words: list[int] | np.ndarray) -> Frame:
    """The frame with another program."""
    padded = np.zeros(-(-len(words) // 2) * 2, "<u8")
    padded[: len(words)] = words
    program = stripe(padded.view(np.uint8).reshape(-1, SMALL.stream_bits // 8), SMALL.ports)
    return replace(frame, program=program)


def words_of(frame: Frame) -> np.ndarray:
    return unstripe(frame.program, SMALL.ports).reshape(-1).view("<u8").copy()


def beats(device: SimulatedDevice, network: Network) -> tuple[int, int]:
    """Read and write beats of a good frame."""
    figures = run_network(device, network)
    return figures.read_bytes // 16, figures.write_bytes // 16


@pytest.mark.parametrize("response", [2, 3])
def test_read_error_anywhere(device, network, response):
    """Program, weights and input: the code names port and response."""
    reads, _ = beats(device, network)
    for beat in range(0, reads, 3):
        device.reset()  # the device counts beats from reset
        device.inject(FaultKind.RESPONSE, beat=beat, response=response)
        assert attempt(device, network.frame) == Outcome(ErrorCode.READ_RESPONSE, response << 4)
        device.inject(FaultKind.NONE, beat=0)
    run_network(device, network)


def test_write_error_anywhere(device, network):
    _, writes = beats(device, network)
    for beat in range(0, writes, 2):
        device.reset()
        device.inject(FaultKind.RESPONSE, beat=beat, write=True)
        assert attempt(device, network.frame) == Outcome(ErrorCode.WRITE_RESPONSE, 2 << 4)
        device.inject(FaultKind.NONE, beat=0)
        run_network(device, network, seed=beat)


def test_rlast_at_a_wrong_beat_anywhere(device, network):
    """Too early, or missing behind the last beat of a burst."""
    reads, _ = beats(device, network)
    for beat in (*range(0, reads, 5), reads - 1):
        device.reset()
        device.inject(FaultKind.LAST, beat=beat)
        assert attempt(device, network.frame) == Outcome(ErrorCode.AXI_PROTOCOL), beat
        device.inject(FaultKind.NONE, beat=0)
    run_network(device, network)


def test_a_burst_that_ends_early_anywhere(device, network):
    """Its missing beats are waited for, then forgotten: the next frame runs."""
    reads, _ = beats(device, network)
    for beat in (*range(0, reads - 1, 17), reads - 2):
        device.reset()
        device.inject(FaultKind.SHORT, beat=beat)
        outcome = attempt(device, network.frame)
        # The last beat of a burst ends it where it should.
        assert outcome in (Outcome(ErrorCode.AXI_PROTOCOL), Outcome(ErrorCode.NONE)), beat
        device.inject(FaultKind.NONE, beat=0)
        for _ in range(2):
            run_network(device, network)


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_a_beat_or_response_that_nobody_asked_for(device, network, write):
    """When nothing is outstanding, in a run or before it: never taken for data."""
    total = beats(device, network)[write]
    info = 15 if write else 0
    device.inject(FaultKind.SURPLUS, beat=0, write=write)
    device.step(20)
    engine, slot = open_engine(
        device, network.frame, WATCHDOG
    )  # with a soft reset, which forgets it
    device.inject(FaultKind.SURPLUS, beat=0, write=write)
    engine.start(slot)
    assert device.run(LIMIT) is StopReason.INTERRUPT
    assert device.read_register("STATUS") >> 8 & 0xFF == ErrorCode.AXI_PROTOCOL
    for beat in range(1, total, max(total // 8, 1)):
        device.reset()
        device.inject(FaultKind.SURPLUS, beat=beat, write=write)
        outcome = attempt(device, network.frame)
        assert outcome == Outcome(ErrorCode.AXI_PROTOCOL, info), beat
        device.inject(FaultKind.NONE, beat=0)
        run_network(device, network, seed=beat)


def test_run_limit(device, network):
    """Exact to a few cycles; a run in time is left alone, whatever the last one took."""
    taken = run_network(device, network).cycles
    for limit in (1, 2, 40, taken // 2, taken - 40):
        for _ in range(2):  # the counter starts from the last value
            engine, slot = open_engine(device, network.frame, WATCHDOG, run_limit=limit)
            number = engine.start(slot)
            assert device.run(LIMIT) is StopReason.INTERRUPT
            status, counters = finish(engine, number)
            assert status >> 8 & 0xFF == ErrorCode.RUN_LIMIT
            assert limit <= counters["CYCLES"] <= limit + 8
            engine.reset()
    for _ in range(3):
        engine, slot = open_engine(device, network.frame, WATCHDOG, run_limit=4 * taken)
        number = engine.start(slot)
        assert device.run(LIMIT) is StopReason.INTERRUPT
        assert finish(engine, number)[0] == DONE


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_memory_that_stops_answering(device, network, write):
    """WATCHDOG cycles after the last beat the run is given up; it drains once memory is back."""
    total = beats(device, network)[write]
    for beat in range(0, total, max(total // 6, 1)):
        device.reset()
        device.inject(FaultKind.HANG, beat=beat, write=write)
        engine, slot = open_engine(device, network.frame, WATCHDOG)
        engine.start(slot)
        assert device.run(LIMIT) is StopReason.INTERRUPT
        status = device.read_register("STATUS")
        assert status & 0xFFFF == (
            R["STATUS_ERROR_MASK"]
            | R["STATUS_DRAINING_MASK"]
            | ErrorCode.WATCHDOG << R["STATUS_ERROR_CODE_SHIFT"]
        )
        device.step(500)
        assert device.read_register("STATUS") & R["STATUS_DRAINING_MASK"]
        device.inject(FaultKind.NONE, beat=0)
        device.write_register("STATUS", R["STATUS_ERROR_MASK"])
        run_network(device, network, seed=beat)


def test_soft_reset_anywhere(device, network):
    """At any cycle of a run; the next frame is right and the interrupt stays low."""
    cycles = run_network(device, network).cycles
    for moment in range(5, cycles + 40, cycles // 40):
        engine, slot = open_engine(device, network.frame, WATCHDOG)
        engine.start(slot)
        device.step(moment)
        engine.reset()
        assert not device.interrupt
        assert device.read_register("STATUS") == 0
        run_network(device, network, seed=moment)


def test_truncated_program(device, network):
    """Whatever is cut off: the sequencer runs past the end and says so."""
    words = words_of(network.frame)
    at = 0
    inside = set()  # stream words of the program that END does not reach
    for instruction in network.schedule.instructions[:-1]:
        at += len(instruction.encode())
    inside.update(range(1, at // 2 + 1))
    for length in sorted(inside):
        frame = with_words(network.frame, words[: 2 * length])
        outcome = attempt(device, frame)
        assert outcome.code is ErrorCode.PROGRAM_OVERFLOW, (length, outcome)
    run_network(device, network)


def test_program_that_does_not_fit(device, network):
    """One stream word more than the program memory; exactly full is good."""
    words = words_of(network.frame)
    full = np.zeros(SMALL.program_words, "<u8")
    full[: len(words)] = words
    outcome = attempt(device, with_words(network.frame, full))
    assert outcome == Outcome(ErrorCode.NONE)
    longer = np.concatenate([full, [0, 0]]).astype("<u8")
    outcome = attempt(device, with_words(network.frame, longer))
    assert outcome == Outcome(ErrorCode.PROGRAM_OVERFLOW)
    run_network(device, network)


def places(network: Network) -> list[tuple[int, Op]]:
    """First word and opcode of every instruction."""
    out, at = [], 0
    for instruction in network.schedule.instructions:
        out.append((at, instruction.op))
        at += len(instruction.encode())
    return out


def test_bad_opcode_anywhere(device, network):
    """The info is the number of instructions that were started; a FETCH is not counted."""
    for index, (at, _) in enumerate(places(network)):
        for opcode in (8, 15):
            words = words_of(network.frame)
            words[at] = int(words[at]) & ~0xF | opcode
            outcome = attempt(device, with_words(network.frame, words))
            started = sum(op not in DECODER_OPS for _, op in places(network)[:index])
            assert outcome.code is ErrorCode.BAD_INSTRUCTION
            assert outcome.info == started
    run_network(device, network)


@pytest.mark.parametrize(
    ("op", "changes"),
    [
        (Op.CONV, {"n_blocks": 0}),
        (Op.CONV, {"n_taps": 0}),
        (Op.CONV, {"n_tiles": 0}),
        (Op.CONV, {"tile_groups": 0}),
        (Op.CONV, {"tile_groups": SMALL.tile_groups + 1}),
        (Op.CONV, {"n_groups": 0}),
        (Op.CONV, {"lanes": 0}),
        (Op.CONV, {"mode": 2}),
        (Op.POOL, {"n_groups": 0}),
        (Op.VECTOR, {"n_blocks": 0}),
        (Op.VECTOR, {"n_sources": 0}),
        (Op.VECTOR, {"n_sources": 5}),
        (Op.VECTOR, {"out_h": 0}),
        (Op.VECTOR, {"out_w": 0}),
    ],
)
def test_impossible_fields(device, network, op, changes):
    instructions = network.schedule.instructions
    index = next(i for i, n in enumerate(instructions) if n.op == op)
    spoilt = replace(instructions[index], **changes)
    program = [*instructions[:index], spoilt, *instructions[index + 1 :]]
    words = [word for instruction in program for word in instruction.encode()]
    outcome = attempt(device, with_words(network.frame, words))
    assert outcome.code is ErrorCode.BAD_INSTRUCTION
    run_network(device, network)


def test_missing_stream_words(device, network):
    """A FETCH one word short: the run waits for ever, which the watchdog ends."""
    instructions = list(network.schedule.instructions)
    for index, instruction in enumerate(instructions):
        if instruction.op != Op.FETCH:
            continue
        program = list(instructions)
        program[index] = replace(instruction, words=instruction.words - 1)
        words = [word for i in program for word in i.encode()]
        assert attempt(device, with_words(network.frame, words)) == Outcome(ErrorCode.WATCHDOG)
    run_network(device, network)


def test_flipped_program_bits(device, network):
    """Any single flipped bit: no hang, no AXI rule broken, no access outside the buffers, and the
    next frame is right."""
    rng = random.Random(11)
    words = words_of(network.frame)
    seen = []
    for index in range(120):
        spoilt = words.copy()
        spoilt[rng.randrange(len(words))] ^= np.uint64(1 << rng.randrange(64))
        seen.append(attempt(device, with_words(network.frame, spoilt), 6000).code)
        if index % 10 == 0:
            run_network(device, network, seed=index)
    run_network(device, network)
    # The sweep meets harmless flips, refused instructions and starved ones.
    assert {ErrorCode.NONE, ErrorCode.BAD_INSTRUCTION, ErrorCode.WATCHDOG} <= set(seen)


def test_reset_pin_in_the_middle_of_a_run(device, network):
    """The registers are as after power-up at once, and a new frame is right."""
    for cycles in range(40, 800, 61):
        engine, slot = open_engine(device, network.frame, WATCHDOG)
        engine.start(slot)
        assert device.run(cycles) is StopReason.LIMIT
        assert device.read_register("STATUS") == R["STATUS_BUSY_MASK"]
        device.reset()
        for name in ("WATCHDOG", "STATUS", "READ_WINDOW0_LIMIT_LO", "CYCLES"):
            assert device.read_register(name) == 0, name
        run_network(device, network, seed=cycles)


def test_watchdog_off(device, network):
    """WATCHDOG = 0 never ends a run that only waits."""
    run_network(device, network)
    device.reset()
    device.inject(FaultKind.HANG, beat=30)
    engine, slot = open_engine(device, network.frame, 0)
    number = engine.start(slot)
    assert device.run(LIMIT) is StopReason.LIMIT
    assert device.read_register("STATUS") == R["STATUS_BUSY_MASK"]
    device.inject(FaultKind.NONE, beat=0)
    assert device.run(LIMIT) is StopReason.INTERRUPT
    assert finish(engine, number)[0] == DONE


def test_one_device_many_networks(device, network):
    """After a fault another network runs: nothing of the aborted one is left."""
    others = [compile_network(example(name, SMALL), SMALL) for name in ("wide", "resample")]
    for index, other in enumerate(others * 2):
        reads, _ = beats(device, other)
        device.reset()
        device.inject(FaultKind.RESPONSE, beat=reads * (index + 2) // 6)
        assert attempt(device, other.frame).code is ErrorCode.READ_RESPONSE
        device.inject(FaultKind.NONE, beat=0)
        run_network(device, others[1 - index % 2], seed=index)
        run_network(device, network, seed=index)
