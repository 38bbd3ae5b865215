"""Instruction streams that no compiler makes, on the RTL: every run ends, stays inside its buffers
and leaves an engine on which the next good frame is exact."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from fpga_gen.contract.fields import Layout
from fpga_gen.contract.isa import LAYOUTS, Op
from fpga_gen.contract.params import EngineParams
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import StopReason
from fpga_gen.simulate.runner import Frame, open_engine
from fpga_gen_host.regions import stripe, unstripe
from fpga_gen_host.registers import ErrorCode, constants
from rtl_tests.networks import Network, compile_network, finish, run_network
from tests.fuzz.campaign import Different
from tests.schedule.graphs import Builder

R = constants()
MEMORY = DramConfig(jitter=0.2, jitter_latency=20, refresh_interval=0, refresh_length=0)
WATCHDOG = 1500  # cycles without progress; a run that computes nonsense makes some
RUN_LIMIT = 20_000
SPARE = 1000  # cycles in which a run that is over must have drained
EVERY = 10  # attempts between two good frames


def small_network(params: EngineParams) -> Network:
    """Every opcode but PAGE on a few pixels."""
    b = Builder("fuzz", params)
    x = b.simple(b.input(5, 6, 6), 6, 3)
    y = b.pool(x, 2, 2)
    return compile_network(b.example(x, b.mul(y, y, b.tensors[y].format)), params)


def _fields(op: int) -> Layout:
    return LAYOUTS[Op(op)]


def mutated(network: Network, words: np.ndarray, rng: random.Random) -> np.ndarray:
    """The program's 64-bit words with some changes."""
    starts, at = [], 0
    for instruction in network.schedule.instructions:
        starts.append(at)
        at += len(instruction.encode())
    words = words.copy()
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        kind = rng.randrange(6)
        place = rng.randrange(at)
        if kind == 0:
            words[place] ^= np.uint64(1 << rng.randrange(64))
        elif kind == 1:
            words[place] = np.uint64(rng.getrandbits(64))
        elif kind == 2:  # another opcode
            start = rng.choice(starts)
            words[start] = np.uint64(int(words[start]) & ~0xF | rng.randrange(16))
        elif kind == 3:  # a field at its least or largest value
            start = rng.choice(starts)
            layout = _fields(int(words[start]) & 7)
            f = rng.choice(list(layout))
            if start + f.word < len(words):
                ones = ((1 << f.bits) - 1) << f.lsb
                word = int(words[start + f.word]) & ~ones & (1 << 64) - 1
                words[start + f.word] = np.uint64(word | rng.choice((0, ones, 1 << f.lsb)))
        elif kind == 4:  # one instruction in another's place
            a, b = rng.choice(starts), rng.choice(starts)
            count = min(rng.randrange(1, 12), len(words) - max(a, b))
            words[a : a + count] = words[b : b + count].copy()
        else:  # the rest is noise
            noise = [rng.getrandbits(64) for _ in range(len(words) - place)]
            words[place:] = np.array(noise, np.uint64)
    return words


class Attempt:
    """Attempts on one simulated engine. `beats`: AXI beats and answers, all of them checked."""

    def __init__(self, params: EngineParams, simulator: Path) -> None:
        self.network = small_network(params)
        self.params = params
        self.device = SimulatedDevice(simulator, params, MEMORY)
        frame = self.network.frame
        self.words = unstripe(frame.program, params.ports).reshape(-1).view("<u8").copy()
        self.tried = 0

    def __enter__(self) -> Attempt:
        self.device.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self.device.__exit__(*error)

    @property
    def beats(self) -> int:
        stats = self.device.port_stats()
        return sum(port.read_beats + port.write_beats for port in stats)

    def frame(self, words: np.ndarray) -> Frame:
        program = stripe(
            words.view(np.uint8).reshape(-1, self.params.stream_bits // 8), self.params.ports
        )
        return replace(self.network.frame, program=program)

    def __call__(self, rng: random.Random, folder: Path) -> str:
        words = mutated(self.network, self.words, rng)
        engine, slot = open_engine(self.device, self.frame(words), WATCHDOG, run_limit=RUN_LIMIT)
        number = engine.start(slot)
        if self.device.run(RUN_LIMIT + WATCHDOG + SPARE) is not StopReason.INTERRUPT:
            engine.reset()
            raise Different("a run does not end")
        status, _ = finish(engine, number)
        code = ErrorCode(status >> R["STATUS_ERROR_CODE_SHIFT"] & 0xFF)
        for _ in range(SPARE // 20):
            if not self.device.read_register("STATUS") & R["STATUS_DRAINING_MASK"]:
                break
            self.device.step(20)
        else:
            raise Different(f"after {code.name} the engine does not drain")
        self.tried += 1
        if self.tried % EVERY == 0:
            run_network(self.device, self.network, seed=self.tried)
        return code.name
