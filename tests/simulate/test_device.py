"""Registers, memory, running and looking inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fpga_gen.errors import SimulationError
from fpga_gen.simulate.build import build_simulator
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import StopReason
from fpga_gen_host import registers
from tests.simulate.designs import FOUR_PORTS, IDEAL, ONE_PORT, start_copy


@pytest.fixture
def device(copy_library: Path):
    with SimulatedDevice(copy_library, ONE_PORT, IDEAL) as opened:
        yield opened


def test_registers_read_back(device: SimulatedDevice) -> None:
    assert device.read_register("ID") == registers.MAGIC
    names = ["INPUT_LO", "INPUT_HI", "OUTPUT_LO", "WEIGHTS_LO"]
    values = [0xFFFFFFF0, 0xA5, 0x12345670, 0]
    for name, value in zip(names, values, strict=True):
        device.write_register(name, value)
    assert [device.read_register(name) for name in names] == values
    device.write_address("OUTPUT", 0x12_89ABCDE0)
    assert device.read_register("OUTPUT_LO") == 0x89ABCDE0
    assert device.read_register("OUTPUT_HI") == 0x12


def test_register_faults_name_the_register(device: SimulatedDevice) -> None:
    with pytest.raises(SimulationError, match="no register COLOUR; there are ID, VERSION"):
        device.read_register("COLOUR")
    with pytest.raises(SimulationError, match="INPUT_LO: 4294967296 does not fit"):
        device.write_register("INPUT_LO", 1 << 32)
    with pytest.raises(SimulationError, match="reading register LAYER_START: response 2"):
        device.read_register("LAYER_START")
    with pytest.raises(SimulationError, match="writing register LAYER_START: response 2"):
        device.write_register("LAYER_START", 0)


def test_buffers_are_aligned_apart_and_in_the_memory(device: SimulatedDevice) -> None:
    first, second = device.allocate(5000), device.allocate(16)
    assert first.device_address == IDEAL.base
    assert second.device_address == IDEAL.base + 8192
    second.array[:] = 7
    assert first.array.shape == (5000,)
    assert not first.array.any()
    assert (device.memory[8192:8208] == 7).all()
    with pytest.raises(SimulationError, match="cannot allocate 16777216 bytes"):
        device.allocate(IDEAL.size)
    with pytest.raises(SimulationError, match="cannot allocate 0 bytes"):
        device.allocate(0)


def test_step_and_run_count_cycles(device: SimulatedDevice) -> None:
    start = device.cycle
    device.step(123)
    assert device.cycle - start == 123
    assert device.run(77) is StopReason.LIMIT
    assert device.cycle - start == 200


def test_run_stops_at_the_interrupt(device: SimulatedDevice) -> None:
    start_copy(device, 64)
    assert device.run(5000) is StopReason.INTERRUPT
    assert device.interrupt
    cycle = device.cycle
    assert device.run(5000) is StopReason.INTERRUPT
    assert device.cycle == cycle
    device.write_register("STATUS", 2)
    assert not device.interrupt


def test_wait_reports_progress_and_layers(device: SimulatedDevice) -> None:
    start_copy(device, 640)
    seen, layers = [], []
    start = device.cycle
    took = device.run_to_interrupt(
        10_000, seen.append, every=100, on_layer=lambda k, d: layers.append((k, d.cycle))
    )
    assert took == device.cycle - start
    assert seen == [*range(100, took, 100), took]
    # The engine clears its layer count one cycle after the start.
    assert [k for k, _ in layers] == list(range(1, 41))
    assert [c for _, c in layers] == sorted({c for _, c in layers})


def test_layers_need_the_debug_port(reader_library: Path) -> None:
    with SimulatedDevice(reader_library, FOUR_PORTS, IDEAL) as device:
        assert device.layer is None
        with pytest.raises(SimulationError, match="no debug_layer output"):
            device.run(10, until_layer=True)


def test_reset_restarts_the_design_and_keeps_the_memory(device: SimulatedDevice) -> None:
    source, _ = start_copy(device, 600)
    device.step(200)
    assert device.read_register("STATUS") == 1
    kept = source.array.copy()
    device.reset()
    assert device.read_register("STATUS") == 0
    np.testing.assert_array_equal(source.array, kept)
    source, target = start_copy(device, 600)
    device.run_to_interrupt(5000)
    np.testing.assert_array_equal(target.array, 255 - source.array)


def test_banks_show_what_the_design_stored(device: SimulatedDevice) -> None:
    """Bank b of the copy engine keeps word b of the last 16 beats written."""
    _, target = start_copy(device, 32)
    device.run_to_interrupt(5000)
    words = target.array.reshape(32, 4, 4)[16:]
    np.testing.assert_array_equal(device.read_banks(0, 16), words[:, :2].transpose(1, 0, 2))
    np.testing.assert_array_equal(device.read_banks(3, 2), words[3:5, :2].transpose(1, 0, 2))
    with pytest.raises(SimulationError, match="rows 10 to 17 are outside the 16 rows"):
        device.read_banks(10, 7)


def test_designs_without_banks_say_so(reader_library: Path) -> None:
    with SimulatedDevice(reader_library, FOUR_PORTS, IDEAL) as device:
        assert device.memories() == {}
        with pytest.raises(SimulationError, match="no complete set of feature-map banks"):
            device.read_banks(0, 1)


def test_two_designs_run_side_by_side(copy_library: Path, reader_library: Path) -> None:
    with (
        SimulatedDevice(copy_library, ONE_PORT, IDEAL) as copy,
        SimulatedDevice(reader_library, FOUR_PORTS, IDEAL) as read,
        SimulatedDevice(copy_library, ONE_PORT, IDEAL) as second,
    ):
        source, target = start_copy(copy, 64)
        read.step(1000)
        assert not copy.interrupt
        copy.run_to_interrupt(1000)
        np.testing.assert_array_equal(target.array, 255 - source.array)
        assert len(copy.memories()) == len(second.memories()) == 2
        assert read.memories() == {}
        assert second.read_register("STATUS") == 0


def test_parameters_must_fit_the_library(copy_library: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match="has 1 read ports, the engine parameters say 4"):
        SimulatedDevice(copy_library, FOUR_PORTS)
    text = tmp_path / "library.so"
    text.write_text("nothing")
    with pytest.raises(SimulationError, match="not a simulator library"):
        SimulatedDevice(text, ONE_PORT)
    with pytest.raises(SimulationError, match="trace=True"):
        SimulatedDevice(copy_library, ONE_PORT, IDEAL, trace=tmp_path / "wave.vcd")


def test_waveforms(build_cache: Path, copy_sources: list[Path], tmp_path: Path) -> None:
    library = build_simulator(copy_sources, cache=build_cache, optimise=0, trace=True)
    wave = tmp_path / "wave.vcd"
    with SimulatedDevice(library, ONE_PORT, DramConfig(), trace=wave) as device:
        start_copy(device, 16)
        cycles = device.run_to_interrupt(5000) and device.cycle
    text = wave.read_text()
    assert "m_axi_0_araddr" in text
    assert f"#{2 * cycles - 1}\n" in text
