"""One frame, many frames, threads and event loops, on the device double."""

from __future__ import annotations

import asyncio
import gc
import threading
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from host_fakes import FakeDevice, first_bytes, layout_json, write_deploy

from fpga_gen_host import (
    Accelerator,
    AcceleratorError,
    DeployError,
    Deployment,
    HostError,
    InputError,
)
from fpga_gen_host.power import PowerSensor

COUNT = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_deploy(tmp_path / "deploy")


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice(first_bytes(layout_json()["output"]["bytes"]))


@pytest.fixture
def opened(folder: Path, device: FakeDevice):
    with Accelerator(folder, device=device) as accelerator:
        yield accelerator
    assert not device.live
    assert device.closed


def picture(value: int) -> np.ndarray:
    return np.full((8, 12, 3), value, np.uint8)


def red(outputs: dict) -> float:
    """The double copies the first byte of every word: red of the upper left pixel."""
    assert np.ptp(outputs["mask"]) == 0
    return float(outputs["mask"].flat[0])


def drain(stream, results: list[float]) -> None:
    for outputs in stream:
        results.append(red(outputs))


def expected(value: int) -> float:
    return 0.5 * float(np.rint(np.float32((value / 255 - 0.485) / 0.229) / 0.02))


def test_one_frame(opened: Accelerator):
    outputs = opened.run(picture(100))
    assert outputs["mask"].shape == (1, 1, 4, 6)
    assert outputs["mask"].dtype == np.float32
    assert red(outputs) == expected(100)
    assert outputs.statistics.cycles == 400
    assert outputs.statistics.prepare_s > 0
    assert outputs.statistics.engine_s > 0


def test_no_bitstream(folder: Path):
    with pytest.raises(DeployError, match=r"holds no \.bit"):
        Accelerator(folder)


def test_closed(opened: Accelerator):
    opened.close()
    with pytest.raises(HostError, match="is closed"):
        opened.run(picture(1))


def test_bad_inputs_leave_it_usable(opened: Accelerator):
    for bad in (
        np.zeros((8, 12), np.uint8),
        np.zeros((0, 12, 3), np.uint8),
        np.zeros((3, 8, 13), np.float32),
        np.full((3, 8, 12), np.nan),
        np.array([["a"]]),
    ):
        with pytest.raises(InputError):
            opened.run(bad)
    assert red(opened.run(picture(3))) == expected(3)


def test_stream_in_order(opened: Accelerator):
    results = [red(o) for o in opened.run_many(picture(v) for v in range(COUNT))]
    assert results == [expected(v) for v in range(COUNT)]
    totals = opened.stream_statistics
    assert totals is not None
    assert totals.frames == COUNT
    assert totals.frames_per_second == pytest.approx(COUNT / totals.seconds)
    assert list(opened.run_many([])) == []
    assert red(opened.run(picture(3))) == expected(3)


def test_the_three_stages_overlap(opened: Accelerator, device: FakeDevice, monkeypatch):
    """A frame is finished while the next one is computed and the one after that prepared: neither
    comes to its end before the other two have begun."""
    met = [threading.Barrier(3) for _ in range(COUNT - 2)]

    def meet(number: int) -> None:
        if 0 <= number < len(met):
            met[number].wait(20)

    def source():
        for value in range(COUNT):
            meet(value - 2)
            yield picture(value)

    def slow_compute(data: bytes) -> bytes:
        meet(next(computed))
        return compute(data)

    def slow_finish(deployment, stored):
        meet(next(finished))
        return finish(deployment, stored)

    computed, finished = count(-1), count()
    compute, finish = device.compute, Deployment.finish
    device.compute = slow_compute
    monkeypatch.setattr(Deployment, "finish", slow_finish)
    assert len(list(opened.run_many(source()))) == COUNT


def test_frames_are_taken_as_needed(opened: Accelerator):
    taken = []

    def source():
        for value in range(100):
            taken.append(value)
            yield picture(value)

    with opened.run_many(source()) as stream:
        for _ in range(4):
            next(stream)
    assert 4 <= len(taken) <= 8
    assert list(stream) == []


@pytest.mark.parametrize("bad", [0, 3])
def test_error_of_the_source_comes_in_its_place(opened: Accelerator, bad: int):
    def source():
        for value in range(COUNT):
            if value == bad:
                raise OSError("camera unplugged")
            yield picture(value)

    stream, results = opened.run_many(source()), []
    with pytest.raises(OSError, match="unplugged"):
        drain(stream, results)
    assert results == [expected(v) for v in range(bad)]
    assert red(opened.run(picture(3))) == expected(3)


def test_bad_picture_in_a_stream(opened: Accelerator):
    stream = opened.run_many([picture(1), np.zeros((2, 2)), picture(2)])
    assert red(next(stream)) == expected(1)
    with pytest.raises(InputError):
        next(stream)
    assert red(opened.run(picture(3))) == expected(3)


def test_accelerator_error_in_a_stream(opened: Accelerator, device: FakeDevice):
    device.fail = [None, None, 2]
    stream, results = opened.run_many(picture(v) for v in range(COUNT)), []
    with pytest.raises(AcceleratorError, match="READ_RESPONSE"):
        drain(stream, results)
    assert results == [expected(0), expected(1)]
    assert red(opened.run(picture(3))) == expected(3)


def test_one_thing_at_a_time(opened: Accelerator):
    stream = opened.run_many([picture(1)])
    for use in (lambda: opened.run(picture(1)), lambda: opened.run_many([]), opened.layer_times):
        with pytest.raises(HostError, match="run_many is in progress"):
            use()
    stream.close()
    opened.run(picture(1))


def test_dropped_stream_ends(opened: Accelerator):
    stream = opened.run_many(picture(v) for v in range(1000))
    next(stream)
    before = threading.active_count()
    del stream
    gc.collect()
    assert threading.active_count() < before
    assert red(opened.run(picture(3))) == expected(3)


def test_close_ends_a_stream(opened: Accelerator, device: FakeDevice):
    stream = opened.run_many(picture(v) for v in range(1000))
    next(stream)
    opened.close()
    assert not device.live
    assert list(stream) == []


def test_many_threads(opened: Accelerator):
    results: dict[int, float] = {}

    def work(value: int) -> None:
        results[value] = red(opened.run(picture(value)))

    threads = [threading.Thread(target=work, args=(v,)) for v in range(COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {v: expected(v) for v in range(COUNT)}


def test_async(folder: Path, device: FakeDevice):
    async def use() -> list[float]:
        async with Accelerator(folder, device=device) as opened:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.005)
                    ticks += 1

            device.seconds = 0.05
            task = asyncio.create_task(tick())
            results = [red(await opened.run_async(picture(50)))]
            results += [red(o) async for o in opened.run_many([picture(51), picture(52)])]
            task.cancel()
            assert ticks >= 5  # the loop was never blocked
            async with opened.run_many(picture(v) for v in range(9)) as stream:
                results.append(red(await anext(aiter(stream))))
            return results

    assert asyncio.run(use()) == [expected(v) for v in (50, 51, 52, 0)]
    assert not device.live


def test_power_and_energy(folder: Path, device: FakeDevice, tmp_path: Path):
    path = tmp_path / "power1_input"
    path.write_text("12500000\n")
    sensor = PowerSensor("ina260_u14", "ina260_u14", path)
    with Accelerator(folder, device=device, power=sensor) as opened:
        assert len(list(opened.run_many([picture(1)] * 4))) == 4
        totals = opened.stream_statistics
    assert totals is not None
    assert totals.watts == pytest.approx(12.5)
    assert totals.sensor == "ina260_u14"
    assert totals.joules_per_frame == pytest.approx(12.5 * totals.seconds / 4)
