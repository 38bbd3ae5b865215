"""The driver on the RTL of the small engine: bits, errors, recovery, overlap, layer times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from fpga_gen.images import Preprocess, prepare
from fpga_gen.quant.interpreter import dequantise, quantise_input, run_integer
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.simulate.dram import DramConfig
from fpga_gen.simulate.native import FaultKind
from fpga_gen_host import (
    Accelerator,
    AcceleratorError,
    AcceleratorTimeout,
    DesignMismatch,
    WrongFrame,
)
from fpga_gen_host import registers as r
from fpga_gen_host.host_ops import run_host_ops
from fpga_gen_host.registers import ErrorCode
from rtl_tests.networks import accelerator
from tests.engines import SMALL
from tests.host.deploy import RtlDevice, picture_network, write_deploy
from tests.schedule.graphs import example

# The first test that needs the simulator may compile it.
pytestmark = pytest.mark.timeout(900)
MEMORY = DramConfig(size=16 << 20)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return accelerator(SMALL, tmp_path_factory.mktemp("verilog"))


@pytest.fixture
def device(library: Path):
    with RtlDevice(library, SMALL, MEMORY) as simulated:
        yield simulated


@pytest.fixture(scope="module")
def graph() -> QuantGraph:
    return picture_network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, graph: QuantGraph) -> Path:
    path = tmp_path_factory.mktemp("deploy") / "picture"
    return write_deploy(path, graph, Preprocess("imagenet", "letterbox"))


@pytest.fixture
def opened(folder: Path, device: RtlDevice):
    with Accelerator(folder, device=device, timeout_s=60) as accelerator:
        yield accelerator
    assert not device.live


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (20, 31, 3), np.uint8) for _ in range(count)]


def expected(graph: QuantGraph, picture: np.ndarray) -> np.ndarray:
    """The compiler's own references from picture to result."""
    model = prepare(picture, graph.host_input.model_shape, Preprocess("imagenet", "letterbox"))
    values = run_integer(graph, quantise_input(graph, model))
    real = {name: dequantise(graph, name, values[name]) for name in graph.outputs}
    return run_host_ops(graph, real)["mask"]


@pytest.mark.parametrize("name", ["conv3x3", "wide", "long_input", "pool"])
def test_stored_outputs_are_bit_exact(name: str, tmp_path: Path, device: RtlDevice):
    network = example(name, SMALL)
    folder = write_deploy(tmp_path / name, network.graph)
    with Accelerator(folder, device=device, timeout_s=60) as opened:
        for _ in range(2):
            outputs = opened.run_stored(network.stored_input)
            assert set(outputs) == set(network.graph.outputs)
            for tensor, values in outputs.items():
                assert np.array_equal(values, network.values[tensor])
    assert not device.live


def test_picture_to_mask(opened: Accelerator, graph: QuantGraph):
    (picture,) = pictures(1)
    outputs = opened.run(picture)
    assert outputs["mask"].shape == (1, 1, 24, 28)
    assert np.ptp(outputs["mask"]) > 0.01
    np.testing.assert_allclose(outputs["mask"], expected(graph, picture), atol=1e-6)


def test_stream_keeps_the_order(opened: Accelerator, graph: QuantGraph, device: RtlDevice):
    many = pictures(5)
    for picture, outputs in zip(many, opened.run_many(iter(many)), strict=True):
        np.testing.assert_allclose(outputs["mask"], expected(graph, picture), atol=1e-6)
    assert opened.stream_statistics is not None
    assert opened.stream_statistics.frames == 5
    assert device.starts == 5


def test_async_use(folder: Path, graph: QuantGraph, device: RtlDevice):
    async def use() -> list[np.ndarray]:
        async with Accelerator(folder, device=device, timeout_s=60) as opened:
            first = await opened.run_async(many[0])
            return [first["mask"]] + [o["mask"] async for o in opened.run_many(many[1:])]

    many = pictures(3)
    for picture, mask in zip(many, asyncio.run(use()), strict=True):
        np.testing.assert_allclose(mask, expected(graph, picture), atol=1e-6)
    assert not device.live


def test_counters_and_layer_times(opened: Accelerator, graph: QuantGraph):
    statistics = opened.run(pictures(1)[0]).statistics
    d = opened.deployment
    assert statistics.read_bytes == len(d.program) + len(d.weights) + d.input.bytes
    (stored,) = d.output.maps
    assert statistics.write_bytes == stored.words * stored.word_channels
    assert statistics.seconds == pytest.approx(statistics.cycles / 100e6)
    layers = opened.layer_times()
    assert [(t.operation, t.layer) for t in layers] == list(d.instructions)
    convolutions = [t for t in layers if t.operation == "conv"]
    assert {t.layer for t in convolutions} == {n.name for n in graph.nodes}
    assert layers[0].start_cycle + sum(t.cycles for t in layers) == statistics.cycles
    assert all(t.cycles > 0 for t in convolutions)


def test_read_error_then_a_good_frame(opened: Accelerator, graph: QuantGraph, device: RtlDevice):
    (picture,) = pictures(1)
    device.inject(FaultKind.RESPONSE, beat=40)
    with pytest.raises(AcceleratorError, match="READ_RESPONSE") as caught:
        opened.run(picture)
    assert caught.value.code == ErrorCode.READ_RESPONSE
    device.inject(FaultKind.NONE, beat=0)
    np.testing.assert_allclose(opened.run(picture)["mask"], expected(graph, picture), atol=1e-6)


def test_error_inside_a_stream_ends_it(opened: Accelerator, graph: QuantGraph, device: RtlDevice):
    many = pictures(4)
    d = opened.deployment
    beats = (len(d.program) + len(d.weights) + d.input.bytes) // 16
    device.inject(FaultKind.RESPONSE, beat=beats + 30)  # of the second frame
    stream = opened.run_many(many)
    np.testing.assert_allclose(next(stream)["mask"], expected(graph, many[0]), atol=1e-6)
    with pytest.raises(AcceleratorError, match="READ_RESPONSE"):
        next(stream)
    device.inject(FaultKind.NONE, beat=0)
    np.testing.assert_allclose(opened.run(many[3])["mask"], expected(graph, many[3]), atol=1e-6)


def test_timeout_then_a_good_frame(folder: Path, graph: QuantGraph, device: RtlDevice):
    """No time at all: the host aborts in mid-run with a soft reset, which drains the DMA."""
    (picture,) = pictures(1)
    with Accelerator(folder, device=device, timeout_s=0) as opened:
        with pytest.raises(AcceleratorTimeout, match="no result within"):
            opened.run(picture)
        assert opened._held.engine is not None
        opened._held.engine.timeout_s = 60
        np.testing.assert_allclose(opened.run(picture)["mask"], expected(graph, picture), atol=1e-6)


def test_interrupt_right_after_the_start(
    opened: Accelerator, graph: QuantGraph, device: RtlDevice, monkeypatch
):
    """The frame runs and has read its picture: the next result is that of the next picture."""
    first, second = pictures(2)
    write, cycles = device.write, opened.run(second).statistics.cycles

    def start_and_stop(offset: int, value: int) -> None:
        write(offset, value)
        if offset == r.CONTROL and value & r.CONTROL_START_MASK:
            device.step(cycles * 3 // 4)
            assert device.read(r.STATUS) & r.STATUS_BUSY_MASK
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(device, "write", start_and_stop)
        with pytest.raises(KeyboardInterrupt):
            opened.run(first)
    np.testing.assert_allclose(opened.run(second)["mask"], expected(graph, second), atol=1e-6)


def test_a_run_of_another_program(
    opened: Accelerator, graph: QuantGraph, device: RtlDevice, monkeypatch
):
    """Its start comes before ours, which the hardware ignores."""
    (picture,) = pictures(1)
    write = device.write

    def late(offset: int, value: int) -> None:
        if offset == r.FRAME:
            write(r.CONTROL, r.CONTROL_START_MASK)
        write(offset, value)

    with monkeypatch.context() as patch:
        patch.setattr(device, "write", late)
        with pytest.raises(WrongFrame, match="close the other program"):
            opened.run(picture)
    np.testing.assert_allclose(opened.run(picture)["mask"], expected(graph, picture), atol=1e-6)


def test_wrong_design_hash(tmp_path: Path, graph: QuantGraph, device: RtlDevice):
    folder = write_deploy(tmp_path / "other", graph, design_hash=1 << 32)  # in HASH_HI alone
    with pytest.raises(DesignMismatch, match=r"hash 0{16}, .* needs 0000000100000000: make"):
        Accelerator(folder, device=device)
    assert not device.live
    assert device.starts == 0


def test_closing_an_open_stream(folder: Path, device: RtlDevice):
    opened = Accelerator(folder, device=device, timeout_s=60)
    stream = opened.run_many(pictures(8))
    next(stream)
    opened.close()
    assert not device.live
    assert device.starts < 8
    assert list(stream) == []
