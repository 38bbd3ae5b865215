"""One small network through the netlist of LUTs, flip-flops, carry chains, block RAMs and
multipliers that Yosys maps: every output of the accelerator is that of the RTL in every cycle.

A first run maps the engine, about four minutes a family; what was mapped stays in the user's cache.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.contract.modules import TOP
from fpga_gen.simulate.build import build_simulator
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.runner import open_engine
from fpga_gen.synth.yosys import FAMILIES
from fpga_gen_host.regions import BEAT_BYTES
from rtl_tests.gates import PAIR, map_engine, which, write_pair
from rtl_tests.networks import (
    CYCLE_LIMIT,
    WATCHDOG,
    Network,
    fill_with_noise,
    finish,
    run_network,
)
from rtl_tests.verilator import CACHE
from tests.engines import SMALL
from tests.fuzz.programs import small_network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
FRAMES = 3


def memory_of(device: SimulatedDevice, name: str) -> np.ndarray:
    """Live view of an array of `pair`, uint64."""
    found = next(array for key, array in device.memories().items() if key.endswith(f".{name}"))
    return found.view("<u8").reshape(-1)


def raw_output(device: SimulatedDevice, network: Network, seed: int) -> np.ndarray:
    """The output region of one frame from noise, uint8 (beats, 16): all that was stored, bytes
    that belong to no channel included."""
    engine, slot = open_engine(device, network.frame, WATCHDOG)
    fill_with_noise(device, slot.output, seed)
    slot.output[:] = 0
    number = engine.start(slot)
    device.run_to_interrupt(CYCLE_LIMIT)
    finish(engine, number)
    return slot.output.reshape(-1, BEAT_BYTES).copy()


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_are_the_rtl(family: str, tmp_path: Path):
    """Frames on a memory that stalls at random: nothing but stored data ever differs. On a prompt
    one as many beats differ as hold bytes that no channel has, which are what noise left there.
    Then the gates get one wrong bit, and are found."""
    params = replace(SMALL, family=family)
    outputs = map_engine(params)[1][TOP].outputs
    library = build_simulator(
        write_pair(params, tmp_path), PAIR, cache=CACHE / "accelerators", optimise=1
    )
    network = small_network(params)
    stalling = DramConfig(jitter=0.3, jitter_latency=20)
    with SimulatedDevice(library, params, stalling) as device:
        compared = memory_of(device, "compared")
        cycles = sum(run_network(device, network, seed=n).cycles for n in range(FRAMES))
        seen, different, names = (int(v) for v in compared)
        print(f"{family}: {FRAMES} frames, {cycles:,} cycles of runs, {seen:,} compared, "
              f"{len(outputs)} outputs, {different} cycles differ")  # fmt: skip
        assert seen > cycles
        assert set(which(outputs, names)) <= {"m_axi_0_wdata"}
    with SimulatedDevice(library, params, DramConfig()) as device:
        compared, poke = (memory_of(device, name) for name in ("compared", "poke"))
        one, other = (raw_output(device, network, seed) for seed in (7, 8))
        unused = int((one != other).any(1).sum())
        assert 0 < unused < len(one)
        assert int(compared[1]) == 2 * unused
        poke[0] = 1
        engine, slot = open_engine(device, network.frame, WATCHDOG)
        engine.start(slot)
        device.step(2 * cycles // FRAMES)
        assert int(compared[1]) > 4 * unused
