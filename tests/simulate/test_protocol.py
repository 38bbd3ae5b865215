"""Broken AXI rules are found and named; errors that AXI foresees are answered, not reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fpga_gen.errors import SimulationError
from fpga_gen.simulate.build import build_simulator
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import FaultKind
from fpga_gen_host.registers import ErrorCode
from tests.simulate.designs import IDEAL, MODES, ONE_PORT, start_copy

SLOW = replace(IDEAL, jitter=0.5)  # makes every channel wait at times


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("WLAST_EARLY", "m_axi_0_wlast before the last beat"),
        ("WLAST_NEVER", "m_axi_0_wlast missing"),
        ("ARADDR_MOVES", "m_axi_0_ar payload changed"),
        ("ARVALID_DROPS", "m_axi_0_arvalid fell"),
        ("WDATA_MOVES", "m_axi_0_w payload changed"),
        ("NARROW", r"m_axi_0_araddr 0x800000000, 16 beats: burst size is not 16 bytes"),
        ("FIXED", "burst type is not INCR"),
        ("UNALIGNED", "address is not a multiple of 16"),
    ],
)
def test_broken_rules_are_named(copy_library: Path, mode: str, message: str) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, SLOW) as device:
        start_copy(device, 600, mode=mode)
        with pytest.raises(SimulationError, match=rf"AXI protocol: cycle \d+: .*{message}"):
            device.run_to_interrupt(50_000)
        with pytest.raises(SimulationError, match=message):  # the first error stays
            device.step()


def test_the_correct_engine_breaks_no_rule(copy_library: Path) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, SLOW) as device:
        source, target = start_copy(device, 600)
        device.run_to_interrupt(50_000)
        assert (target.array == 255 - source.array).all()


def test_crossing_4_kib_is_found(copy_library: Path) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, IDEAL) as device:
        start_copy(device, 600, skew=128)
        with pytest.raises(SimulationError, match="16 beats: burst crosses a 4 KiB boundary"):
            device.run_to_interrupt(50_000)


def test_bursts_longer_than_the_memory_accepts_are_found(copy_library: Path) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, replace(IDEAL, max_burst_beats=16)) as device:
        start_copy(device, 64, burst=32)
        with pytest.raises(SimulationError, match="32 beats: burst is longer"):
            device.run_to_interrupt(50_000)


def test_valid_in_reset_is_found(build_cache: Path, copy_sources: list[Path]) -> None:
    library = build_simulator(
        copy_sources, cache=build_cache, optimise=0, parameters={"RESET_BUG": 1}
    )
    with pytest.raises(SimulationError, match="valid of the AXI masters is high in reset"):
        SimulatedDevice(library, ONE_PORT, IDEAL)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("LITE_UNSTABLE", "s_axi_r payload changed"),
        ("LITE_EARLY", "s_axi_bvalid before the write was accepted"),
        ("LITE_DEAD", "reading register ID: no answer within 1000 cycles"),
    ],
)
def test_register_port_faults_are_found(copy_library: Path, mode: str, message: str) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, replace(IDEAL, jitter_latency=40)) as device:
        start_copy(device, 4000)
        device.write_register("WATCHDOG", MODES[mode])

        def use_registers() -> None:
            for _ in range(20):
                device.read_register("ID")
                device.write_register("INPUT_LO", 0)

        with pytest.raises(SimulationError, match=message):
            use_registers()


@pytest.mark.parametrize(
    ("register", "code"),
    [("INPUT", ErrorCode.READ_RESPONSE), ("OUTPUT", ErrorCode.WRITE_RESPONSE)],
)
@pytest.mark.parametrize("outside", ["below", "above", "across the end"])
def test_outside_the_memory_answers_decode_error(
    copy_library: Path, register: str, code: ErrorCode, outside: str
) -> None:
    dram = IDEAL
    end = dram.base + dram.size
    address = {"below": dram.base - 4096, "above": end, "across the end": end - 256}[outside]
    with SimulatedDevice(copy_library, ONE_PORT, dram) as device:
        start_copy(device, 1)
        device.run_to_interrupt(5000)
        device.write_register("STATUS", 6)
        device.write_register("PROGRAM_WORDS", 64)
        device.write_address(register, address)
        device.write_register("CONTROL", 5)
        device.run_to_interrupt(5000)
        assert device.read_register("STATUS") == int(code) << 8 | 4
        assert device.port_stats()[0].error_responses > 0


@pytest.mark.parametrize("beat", [0, 37])
def test_injected_read_error_hits_one_beat(copy_library: Path, beat: int) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, IDEAL) as device:
        device.inject(FaultKind.RESPONSE, beat=beat)
        start_copy(device, 64)
        device.run_to_interrupt(5000)
        assert device.read_register("STATUS") == ErrorCode.READ_RESPONSE << 8 | 4
        # The beat itself is the last that the engine counts.
        assert device.read_register("READ_BEATS_0") == beat + 1
        device.step(500)
        assert device.port_stats()[0].error_responses == 1


def test_injected_write_error_hits_the_burst_of_its_beat(copy_library: Path) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, IDEAL) as device:
        device.inject(FaultKind.RESPONSE, beat=37, write=True, response=3)
        start_copy(device, 64)
        device.run_to_interrupt(5000)
        assert device.read_register("STATUS") == ErrorCode.WRITE_RESPONSE << 8 | 4
        assert device.layer == 3  # beat 37 is in the third burst of 16

    with SimulatedDevice(copy_library, ONE_PORT, IDEAL) as device:
        device.inject(FaultKind.RESPONSE, beat=37, write=True)
        device.inject(FaultKind.NONE, beat=0)
        start_copy(device, 64)
        device.run_to_interrupt(5000)
        assert device.read_register("STATUS") == 2


@pytest.mark.parametrize("write", [False, True])
def test_a_hanging_memory_ends_in_a_timeout(copy_library: Path, write: bool) -> None:
    with SimulatedDevice(copy_library, ONE_PORT, DramConfig()) as device:
        device.inject(FaultKind.HANG, beat=20, write=write)
        start_copy(device, 64)
        with pytest.raises(
            SimulationError, match=r"no interrupt within 3000 cycles \(STATUS 0x00000001"
        ):
            device.run_to_interrupt(3000)
        stats = device.port_stats()[0]
        assert (stats.write_beats if write else stats.read_beats) == 20
