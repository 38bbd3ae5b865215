"""Random networks on random memories that stall, answer with errors and break the rules of AXI.

The memory model checks every handshake of the engine's masters; every frame without a fault is
right, bit for bit, also the one behind a fault. FPGA_GEN_SEED chooses the seed, FPGA_GEN_BEATS how
many beats; both are printed, with what was met.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import FaultKind, StopReason
from fpga_gen.simulate.runner import open_engine
from fpga_gen_host import HostError
from fpga_gen_host.registers import ErrorCode, constants
from rtl_tests.networks import Network, compile_network, finish, run_network
from tests.engines import SMALL
from tests.schedule.graphs import DOUBLE_CLOCK, THREE_MODES, random_example

pytestmark = pytest.mark.timeout(4 * 3600)  # minutes of a free core

SEED = int(os.environ.get("FPGA_GEN_SEED", "0"))
FEW = int(os.environ.get("FPGA_GEN_BEATS", "20000"))
MANY = max(FEW, 1_000_000)
ENGINES = {"two-modes": SMALL, "three-modes": THREE_MODES, "double-clock": DOUBLE_CLOCK}
R = constants()
WATCHDOG = 4000  # cycles: more than the slowest memory here needs for a beat
LIMIT = 400_000
SETTLED = 400  # cycles within which a memory here has sent the last beat that it owes
FRAMES = 4  # of one network on one memory, with a fault before all but the first
# What the engine may say of each fault; NONE where the fault has no effect, as behind the last
# burst of the run.
SAYS = {
    FaultKind.RESPONSE: {ErrorCode.READ_RESPONSE, ErrorCode.WRITE_RESPONSE},
    FaultKind.LAST: {ErrorCode.AXI_PROTOCOL},
    FaultKind.SHORT: {ErrorCode.AXI_PROTOCOL, ErrorCode.NONE},
    FaultKind.SURPLUS: {ErrorCode.AXI_PROTOCOL, ErrorCode.NONE},
    FaultKind.HANG: {ErrorCode.WATCHDOG},
}


def random_memory(rng: random.Random) -> DramConfig:
    """Slow to prompt, few to many bursts at a time, steady to erratic."""
    width = rng.choice((16, 32, 64, 256))
    refresh = rng.choice(((0, 0), (2340, 105), (300, 40)))
    return DramConfig(
        bytes_per_cycle=width,
        bucket_bytes=max(256, width),
        sustained=rng.choice((0.3, 0.8, 1.0)),
        read_latency=rng.choice((2, 20, 90, 250)),
        write_latency=rng.choice((2, 20, 120)),
        outstanding=rng.choice((1, 2, 16)),
        refresh_interval=refresh[0],
        refresh_length=refresh[1],
        jitter=rng.choice((0.0, 0.2, 0.5, 0.8)),
        jitter_latency=rng.choice((0, 5, 60)),
        seed=rng.randrange(1, 1 << 30),
    )


def fault(device: SimulatedDevice, network: Network, rng: random.Random) -> tuple[str, ErrorCode]:
    """One frame in which one thing goes wrong somewhere; what, and what the engine says."""
    device.reset()  # beats are counted from here
    write = rng.random() < 0.2
    kinds = [k for k in SAYS if not write or k not in (FaultKind.LAST, FaultKind.SHORT)]
    kind = rng.choice(kinds)
    port = 0 if write else rng.randrange(device.ports)
    estimate = network.schedule.estimate
    total = (estimate.write_bytes if write else estimate.read_bytes // device.ports) // 16
    device.inject(kind, beat=rng.randrange(total), port=port, write=write)
    engine, slot = open_engine(device, network.frame, WATCHDOG)
    number = engine.start(slot)
    assert device.run(LIMIT) is StopReason.INTERRUPT, f"no end after {kind.name}"
    code = ErrorCode(device.read_register("STATUS") >> R["STATUS_ERROR_CODE_SHIFT"] & 0xFF)
    device.inject(FaultKind.NONE, beat=0)
    finish(engine, number)
    # A beat nobody asked for took the place of another one, which comes behind all that the engine
    # waits for, as late as the memory likes: to the next frame it would be the one too many.
    for _ in range(LIMIT // SETTLED):
        draining = device.read_register("STATUS") & R["STATUS_DRAINING_MASK"]
        device.step(SETTLED)
        if not draining:
            break
    else:
        raise AssertionError(f"drains for ever after {kind.name}")
    assert code in SAYS[kind], f"{kind.name} is called {code.name}"
    return f"{kind.name} {'write' if write else 'read'}", code


def campaign(simulator: Callable[[EngineParams], Path], engines, beats: int) -> Counter[str]:
    """Frames until so many beats were moved."""
    met: Counter[str] = Counter()
    number = 0
    while met["beats"] < beats:
        rng = random.Random(f"axi {SEED} {number}")
        params = engines[number % len(engines)]
        network = compile_network(random_example(params, rng.randrange(1 << 20)), params)
        with ExitStack() as stack:
            memory = random_memory(rng)
            device = stack.enter_context(SimulatedDevice(simulator(params), params, memory))
            for frame in range(FRAMES):
                told = f"number {number}, frame {frame}, {memory}"
                try:
                    if frame:
                        kind, code = fault(device, network, rng)
                        met[f"{kind}: {code.name}"] += 1
                    run_network(device, network, seed=frame)
                except (AssertionError, HostError) as error:
                    raise AssertionError(f"seed {SEED}, {told}: {error}") from error
            met["frames"] += 2 * FRAMES - 1
            met["beats"] += sum(p.read_beats + p.write_beats for p in device.port_stats())
        number += 1
    return met


def tell(met: Counter[str]) -> None:
    print(f"seed {SEED}: {met['beats']:,} AXI beats in {met['frames']} frames; " + ", ".join(
        f"{what} {count}" for what, count in sorted(met.items()) if what not in ("beats", "frames")
    ))  # fmt: skip


def test_some_beats(simulator):
    met = campaign(simulator, [SMALL], FEW)
    tell(met)
    assert met["beats"] >= FEW


@pytest.mark.slow
def test_a_million_beats(simulator):
    """On three engines; every kind of fault was met."""
    met = campaign(simulator, list(ENGINES.values()), MANY)
    tell(met)
    assert met["beats"] >= MANY
    assert {what.split()[0] for what in met} >= {kind.name for kind in SAYS}
