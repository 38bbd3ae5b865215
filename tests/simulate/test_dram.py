"""Figures of the DRAM model: cycles are deterministic, so they are asserted exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.errors import SimulationError
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig, PortStats
from tests.simulate.designs import FOUR_PORTS, IDEAL, ONE_PORT, read_cycles, start_copy


def copied(library: Path, dram: DramConfig, beats: int, burst: int = 16) -> tuple[int, PortStats]:
    """Cycles of a copy whose result is right, and the traffic."""
    with SimulatedDevice(library, ONE_PORT, dram) as device:
        source, target = start_copy(device, beats, burst=burst)
        device.run_to_interrupt(200_000)
        np.testing.assert_array_equal(target.array, 255 - source.array)
        return device.read_register("CYCLES"), device.port_stats()[0]


@pytest.mark.parametrize("latency", [2, 60, 75])
def test_read_latency_is_exact(copy_library: Path, latency: int) -> None:
    _, stats = copied(copy_library, replace(IDEAL, read_latency=latency), 16)
    assert (stats.min_read_latency, stats.max_read_latency) == (latency, latency)


def test_write_latency_is_exact(copy_library: Path) -> None:
    cycles = [copied(copy_library, replace(IDEAL, write_latency=w), 16)[0] for w in (2, 3, 50)]
    assert np.diff(cycles).tolist() == [1, 47]


def test_traffic_is_counted(copy_library: Path) -> None:
    _, stats = copied(copy_library, DramConfig(), 100)
    base = DramConfig().base
    assert (stats.read_beats, stats.write_beats) == (100, 100)
    assert (stats.read_bursts, stats.write_bursts) == (7, 7)
    assert (stats.lowest_address, stats.end_address) == (base, base + 4096 + 1600)
    assert stats.error_responses == 0


@pytest.mark.parametrize("burst", [1, 16, 100, 256])
def test_copies_are_right_for_every_burst_length(copy_library: Path, burst: int) -> None:
    # 100-beat bursts are not aligned: two of them stay within the first 4 KiB.
    copied(copy_library, DramConfig(), 200 if burst == 100 else 700, burst)


def test_a_port_moves_one_beat_a_cycle_at_best(reader_library: Path) -> None:
    cycles = [read_cycles(reader_library, FOUR_PORTS, IDEAL, n) for n in (1000, 1001, 3000)]
    assert np.diff(cycles).tolist() == [1, 1999]


def test_peak_is_shared_by_the_ports(reader_library: Path) -> None:
    dram = replace(IDEAL, bytes_per_cycle=32)
    cycles = [read_cycles(reader_library, FOUR_PORTS, dram, n) for n in (1000, 3000)]
    assert cycles[1] - cycles[0] == 4 * 2000 // 2


def test_token_rate_is_exact(reader_library: Path) -> None:
    """4 ports x 2000 beats of 16 bytes at 48 bytes a cycle."""
    dram = replace(IDEAL, sustained=0.75)
    cycles = [read_cycles(reader_library, FOUR_PORTS, dram, n) for n in (1200, 3200, 5200)]
    expected = 4 * 2000 * 16 / 48
    assert np.diff(cycles).tolist() == pytest.approx([expected] * 2, abs=1)


def test_burst_overhead_is_exact(reader_library: Path) -> None:
    """A 16-beat burst with 64 bytes of overhead costs 320 bytes at 48 bytes a cycle."""
    dram = replace(IDEAL, sustained=0.75, burst_overhead=64)
    cycles = [read_cycles(reader_library, FOUR_PORTS, dram, n) for n in (1600, 4000)]
    assert cycles[1] - cycles[0] == pytest.approx(4 * (2400 / 16) * 320 / 48, abs=1)


def test_refresh_stops_everything(reader_library: Path) -> None:
    """10 of 100 cycles: 1800 beats at one a cycle take exactly 20 intervals."""
    dram = replace(IDEAL, refresh_interval=100, refresh_length=10)
    cycles = [read_cycles(reader_library, FOUR_PORTS, dram, n) for n in (900, 2700)]
    assert cycles[1] - cycles[0] == 2000


@pytest.mark.parametrize("burst", [4, 16, 64])
def test_default_memory_sustains_its_formula_and_at_most_80_percent(
    reader_library: Path, burst: int
) -> None:
    dram = DramConfig(size=16 << 20)
    # A multiple of the refresh interval in time, nearly: 12000 beats per port, over 10 intervals.
    short, long = (read_cycles(reader_library, FOUR_PORTS, dram, n, burst) for n in (4096, 16384))
    rate = 4 * (16384 - 4096) * 16 / (long - short)
    assert rate == pytest.approx(dram.sustained_bytes_per_cycle(burst, 4), rel=0.01)
    assert rate <= 0.80 * 64


def test_formula_of_few_ports_is_limited_by_them() -> None:
    dram = DramConfig()
    active = 1 - dram.refresh_length / dram.refresh_interval
    assert dram.sustained_bytes_per_cycle(16, 1) == pytest.approx(16 * active)
    assert dram.sustained_bytes_per_cycle(16, 4) == pytest.approx(47.53, abs=0.01)


def test_ports_are_served_fairly(reader_library: Path) -> None:
    with SimulatedDevice(reader_library, FOUR_PORTS, DramConfig(size=16 << 20)) as device:
        device.write_address("INPUT", device.dram.base)
        device.write_register("PROGRAM_WORDS", 10_000)
        device.write_register("LAYER_SELECT", 16)
        device.write_register("CONTROL", 1)
        device.step(5000)
        beats = [port.read_beats for port in device.port_stats()]
    assert min(beats) > 3000
    assert max(beats) - min(beats) <= 32


def test_jitter_is_random_by_seed_and_harmless(copy_library: Path) -> None:
    runs = {
        seed: [
            copied(
                copy_library,
                DramConfig(jitter=0.3, jitter_latency=40, seed=seed, outstanding=4),
                500,
            )
            for _ in range(2)
        ]
        for seed in (1, 2)
    }
    assert runs[1][0] == runs[1][1]
    assert runs[1][0] != runs[2][0]
    calm, _ = copied(copy_library, DramConfig(outstanding=4), 500)
    assert all(run[0][0] > 1.2 * calm for run in runs.values())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"size": 100}, "size"),
        ({"base": 8}, "base"),
        ({"sustained": 1.5}, "sustained"),
        ({"bytes_per_cycle": 8}, "bytes_per_cycle"),
        ({"bucket_bytes": 32}, "bucket_bytes"),
        ({"refresh_length": 5000}, "refresh_length"),
        ({"read_latency": 1}, "latencies"),
        ({"outstanding": 0}, "outstanding"),
        ({"max_burst_beats": 257}, "max_burst_beats"),
        ({"jitter": 1.0}, "jitter"),
    ],
)
def test_impossible_memories_are_refused(change: dict, rule: str) -> None:
    with pytest.raises(SimulationError, match=rule):
        DramConfig(**change)
