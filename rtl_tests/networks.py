"""Small networks on the whole simulated accelerator: compiled simulators, noise, comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpga_gen.contract.params import EngineParams
from fpga_gen.flows.simulate_trace import TraceRecorder
from fpga_gen.generated import engine_verilog
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen.schedule.execute.compare import compare_maps
from fpga_gen.schedule.execute.interpreter import TracedMap
from fpga_gen.schedule.program import Schedule
from fpga_gen.simulate.build import build_simulator
from fpga_gen.simulate.device import SimulatedDevice
from fpga_gen.simulate.runner import Frame, open_engine, read_counters
from fpga_gen_host.engine import Engine
from fpga_gen_host.regions import BEAT_BYTES, pack_input, unpack_output
from fpga_gen_host.registers import constants
from rtl_tests.verilator import CACHE
from tests.schedule.graphs import Example

CYCLE_LIMIT = 300_000  # of one frame; the longest takes 30,000 with prompt memory
WATCHDOG = 20_000
DONE = constants()["STATUS_DONE_MASK"]


@dataclass(frozen=True, eq=False)
class Network:
    """An example graph, compiled, with the bytes of one frame."""

    example: Example
    schedule: Schedule
    frame: Frame


@dataclass(frozen=True)
class Figures:
    """One frame: cycles of the run; bytes read and written as the hardware counted them."""

    cycles: int
    read_bytes: int
    write_bytes: int


def compile_network(example: Example, params: EngineParams) -> Network:
    """Schedule and frame of an example."""
    schedule = compile_schedule(example.graph, params)
    packed = pack_input(schedule.host_input, example.stored_input)
    frame = Frame(schedule.program, schedule.weights, packed, schedule.host_output.bytes)
    return Network(example, schedule, frame)


def write_verilog(params: EngineParams, folder: Path) -> Path:
    """The generated files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in engine_verilog(params).items():
        (folder / name).write_text(text)
    return folder


def accelerator(params: EngineParams, folder: Path) -> Path:
    """Simulator of the accelerator; compiled anew only when the Verilog has changed."""
    verilog = write_verilog(params, folder)
    return build_simulator(verilog, cache=CACHE / "accelerators", optimise=0, jobs=1)


def fill_with_noise(device: SimulatedDevice, output: np.ndarray, seed: int) -> None:
    """Random bytes in the feature-map memory and the output buffer: nothing may count on zeros."""
    rng = np.random.default_rng(seed)
    banks = device.banks()
    assert len(banks) == device.params.banks
    for array in (*(part for parts in banks.values() for part in parts), output):
        array[:] = rng.integers(0, 256, array.shape, np.uint8)


def finish(engine: Engine, number: int) -> tuple[int, dict[str, int]]:
    """STATUS and counters of a frame that has ended; the interrupt is low afterwards."""
    device = engine.device
    assert isinstance(device, SimulatedDevice)
    status, counters = device.read_register("STATUS"), read_counters(device)
    engine.acknowledge(number)
    device.step(4)
    assert not device.interrupt
    return status, counters


def run_network(device: SimulatedDevice, network: Network, *, seed: int = 1) -> Figures:
    """One frame from noise; AssertionError unless every map and output is right, bit for bit."""
    example, schedule = network.example, network.schedule
    engine, slot = open_engine(device, network.frame, WATCHDOG)
    fill_with_noise(device, slot.output, seed)
    recorder = TraceRecorder(schedule)
    before = device.port_stats()
    number = engine.start(slot)
    device.run_to_interrupt(CYCLE_LIMIT, on_layer=recorder)
    after = device.port_stats()
    status, counters = finish(engine, number)
    assert status == DONE, f"STATUS 0x{status:08x} after instruction {device.layer}"

    stored = unpack_output(schedule.host_output, slot.output.tobytes())
    assert set(stored) == set(example.graph.outputs)
    outputs = [TracedMap(name, -1, 0, values) for name, values in stored.items()]
    maps = (*recorder.finish(), *outputs)
    assert {m.tensor for m in maps} == set(example.values), "a map was not compared"
    mismatch = compare_maps(example.graph, example.values, maps)
    assert mismatch is None, str(mismatch)

    reads = [a.read_beats - b.read_beats for a, b in zip(after, before, strict=True)]
    assert reads == [counters[f"READ_BEATS_{k}"] for k in range(device.ports)]
    writes = after[0].write_beats - before[0].write_beats
    assert writes == counters["WRITE_BEATS"]
    return Figures(counters["CYCLES"], BEAT_BYTES * sum(reads), BEAT_BYTES * writes)
