"""One frame with the driver's register sequence, on the copy engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.errors import SimulationError
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import FaultKind
from fpga_gen.simulate.runner import Frame, simulate_frame
from fpga_gen_host.registers import INTERFACE_VERSION, ErrorCode
from tests.simulate.designs import IDEAL, ONE_PORT

BEATS = 320


@pytest.fixture
def frame() -> Frame:
    """The engine copies as many beats as the program has stream words."""
    data = np.random.default_rng(3).integers(0, 256, 16 * BEATS, np.uint8)
    return Frame(bytes(16 * BEATS), b"", data.tobytes(), 16 * BEATS)


def test_a_frame(copy_library: Path, frame: Frame) -> None:
    result = simulate_frame(frame, ONE_PORT, copy_library, watchdog=0, expected_cycles=500)
    assert result.check() is result
    assert result.output == (255 - np.frombuffer(frame.input, np.uint8)).tobytes()
    assert result.dram_bytes_read == result.counted_bytes_read == 16 * BEATS
    assert result.dram_bytes_written == result.counted_bytes_written == 16 * BEATS
    assert result.cycles == result.counters["CYCLES"]
    # From the edge of the write command to the interrupt: the run and a handful of edges.
    assert 0 < result.interrupt_cycles - result.cycles < 10
    assert result.kilohertz > 1


def test_frames_are_deterministic(copy_library: Path, frame: Frame) -> None:
    dram = DramConfig(jitter=0.2, jitter_latency=9)
    seen: list[int] = []
    runs = [
        simulate_frame(frame, ONE_PORT, copy_library, dram, watchdog=0, progress=seen.append)
        for _ in range(2)
    ]
    assert len(seen) == 2  # once per run, at its end: shorter than one progress step
    assert seen[0] == seen[1] <= runs[0].interrupt_cycles
    assert runs[0].cycles == runs[1].cycles
    assert runs[0].ports == runs[1].ports


def test_hardware_errors_are_results(copy_library: Path, frame: Frame) -> None:
    result = simulate_frame(
        frame, ONE_PORT, copy_library, watchdog=0,
        prepare=lambda device: device.inject(FaultKind.RESPONSE, beat=50),
    )  # fmt: skip
    assert result.error is ErrorCode.READ_RESPONSE
    with pytest.raises(SimulationError, match=r"stopped with READ_RESPONSE .*: an AXI read was"):
        result.check()


def test_layers_are_visible_between_cycles(copy_library: Path, frame: Frame) -> None:
    seen: list[tuple[int, bytes]] = []

    def look(layer: int, device: SimulatedDevice) -> None:
        seen.append((layer, device.read_banks(0, 16).tobytes()))

    prompt = replace(IDEAL, write_latency=2)  # a burst is confirmed before the next one is written
    result = simulate_frame(frame, ONE_PORT, copy_library, prompt, watchdog=0, on_layer=look)
    assert [layer for layer, _ in seen] == list(range(1, BEATS // 16 + 1))
    assert len({banks for _, banks in seen}) == len(seen)
    words = np.frombuffer(result.output, np.uint8).reshape(-1, 16, 4, 4)[-1]
    assert seen[-1][1] == words[:, :2].transpose(1, 0, 2).tobytes()


def test_time_limits(copy_library: Path, frame: Frame) -> None:
    with pytest.raises(
        SimulationError, match=r"no interrupt within 100 cycles \(.*instruction \d+\)"
    ):
        simulate_frame(frame, ONE_PORT, copy_library, watchdog=0, max_cycles=100)


def test_partial_stream_words_are_refused(copy_library: Path) -> None:
    with pytest.raises(SimulationError, match="the program has 24 bytes, not whole stream words"):
        simulate_frame(Frame(bytes(24), b"", b"", 16), ONE_PORT, copy_library)


def test_another_design_is_refused(copy_library: Path, frame: Frame) -> None:
    """Both words of the hash count; the copy engine's is 0."""
    for number in (5, 5 << 32):
        with pytest.raises(
            SimulationError, match=f"hash 0{{16}}, this build needs {number:016x}: build"
        ):
            simulate_frame(replace(frame, design_hash=number), ONE_PORT, copy_library)


def test_another_interface_is_refused(copy_library: Path, frame: Frame, monkeypatch) -> None:
    built = INTERFACE_VERSION
    monkeypatch.setattr("fpga_gen_host.registers.INTERFACE_VERSION", 99)
    with pytest.raises(SimulationError, match=f"interface is {built:#x}, expected 0x63: build"):
        simulate_frame(frame, ONE_PORT, copy_library)
