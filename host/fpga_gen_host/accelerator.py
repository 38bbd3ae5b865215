"""The one class that users need: `Accelerator("deploy/")`."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fpga_gen_host.deployment import Deployment, load_deployment
from fpga_gen_host.device import Device
from fpga_gen_host.engine import WATCHDOG_CYCLES, Engine, Slot
from fpga_gen_host.errors import DeployError, HostError, check_process
from fpga_gen_host.power import PowerRecorder, PowerSensor, board_sensor
from fpga_gen_host.prepare import InputPacker
from fpga_gen_host.regions import unpack_output
from fpga_gen_host.statistics import FrameStatistics, LayerTime, StreamStatistics
from fpga_gen_host.stream import FrameStream, Pipeline

SLOTS = 3  # one frame being prepared, one computed, one finished


class Outputs(dict):
    """Model outputs by name, numpy arrays in the model's shapes; statistics: of this frame."""

    def __init__(self, values: dict[str, np.ndarray], statistics: FrameStatistics) -> None:
        super().__init__(values)
        self.statistics = statistics


class _Held:
    """What an accelerator holds beyond this process's own memory: the hardware, its buffers.

    lock: of the hardware, and of the fields.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.engine: Engine | None = None
        self.pipeline: Pipeline[Outputs] | None = None  # of the stream that uses the engine
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.released = False

    def release(self) -> None:
        """Ends a stream, stops the hardware and frees its memory; may be repeated if interrupted.

        Does nothing in a forked process: all of it is the parent's.
        """
        if os.getpid() != self.process:
            return
        if self.pipeline:
            self.pipeline.close()
        with self.lock:
            if self.released:
                return
            failure = None
            try:
                if self.engine:
                    self.engine.close()
            except HostError as error:
                failure = error
            self.device.close()
            self.engine, self.released = None, True
        if failure:
            raise failure


class Accelerator:
    """A network on a board.

    Args:
        folder: the deploy folder: program.bin, weights.bin, layout.json, manifest.json and, for a
            board, <name>.bit with <name>.hwh.
        device: what to run on; None: load the bitstream through PYNQ.
        download: False: the bitstream is in the device already.
        timeout_s: longest wait for one frame, in time of the accelerator's clock.
        watchdog: cycles without progress after which the hardware gives a frame up; 0: never.
        run_limit: cycles of a whole frame after which it does; 0: never; None: ten times what the
            build predicts, and a million.
        power: sensor to read in `run_many`; None: the one found on the board, if any and if the
            board is not a remote one.

    Frames of several threads are computed one after the other. An accelerator that is dropped, or
    still open when the program ends, is closed. It belongs to the process that opened it.

    Raises:
        DeployError, DesignMismatch, DeviceError: see errors.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: Device | None = None,
        download: bool = True,
        timeout_s: float = 5.0,
        watchdog: int = WATCHDOG_CYCLES,
        run_limit: int | None = None,
        power: PowerSensor | None = None,
    ) -> None:
        self.deployment: Deployment = load_deployment(folder)
        self._packer = InputPacker(self.deployment)
        self.stream_statistics: StreamStatistics | None = None
        self._device = device or _open_board(self.deployment, download)
        self._held = held = _Held(self._device)
        self._finalizer = weakref.finalize(self, held.release)
        # The sensors here are not those of a board elsewhere.
        here = not getattr(self._device, "remote", False)
        self.power = power or (board_sensor() if here else None)
        try:
            held.engine = Engine(
                self._device,
                self.deployment,
                slots=SLOTS,
                watchdog=watchdog,
                run_limit=run_limit,
                timeout_s=timeout_s,
            )
        except BaseException:
            self.close()
            raise

    # --- life ------------------------------------------------------------------------------
    def close(self) -> None:
        """Ends a stream, stops the accelerator and frees its memory."""
        try:
            self._held.release()
        finally:
            if self._held.released:
                self._finalizer.detach()

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Accelerator:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    # --- frames ----------------------------------------------------------------------------
    def run(self, array: np.ndarray | Mapping[str, np.ndarray]) -> Outputs:
        """One frame.

        Args:
            array: uint8 RGB picture (height, width, 3) of any size, or the model's input
                (C, H, W), real numbers that are normalised already; of several inputs by name.

        Raises:
            InputError: the array fits neither.
            AcceleratorError, AcceleratorTimeout: the frame failed; the next one may succeed.
        """
        with self._hardware() as engine:
            slot = engine.slots[0]
            seconds = self._prepare(array, slot)
            return self._finish(slot, self._compute(slot, seconds))

    def run_many(self, frames: Iterable[np.ndarray]) -> FrameStream[Outputs]:
        """Results of `frames`, in order, as they come; `for` and `async for` both work.

        Preparing, computing and finishing overlap. `stream_statistics` holds frames per second,
        power and energy per frame once the stream has ended.
        """
        with self._hardware() as engine:
            pipeline = Pipeline(
                frames,
                engine.slots,
                self._prepare,
                self._compute,
                self._finish,
                PowerRecorder(self.power) if self.power else None,
                self._stream_ended,
            )
            stream = FrameStream(pipeline)  # first: dropped in an interrupt, it closes the pipeline
            self._held.pipeline = pipeline
            return stream

    async def run_async(self, array: np.ndarray) -> Outputs:
        """`run` without blocking the event loop."""
        return await asyncio.get_running_loop().run_in_executor(None, self.run, array)

    def run_stored(self, stored: np.ndarray) -> dict[str, np.ndarray]:
        """Stored integers in, stored integers out, by tensor name: for bit-exact comparison."""
        with self._hardware() as engine:
            slot = engine.slots[0]
            self._packer.pack_stored(stored, slot.input)
            slot.buffer.flush()
            engine.run(slot)
            slot.buffer.invalidate()
            return self._results(slot)

    def layer_times(self) -> list[LayerTime]:
        """Times of the instructions of the last frame, from the hardware's log."""
        with self._hardware() as engine:
            return engine.layer_times()

    # --- stages ----------------------------------------------------------------------------
    @contextmanager
    def _hardware(self) -> Iterator[Engine]:
        """The engine for this thread alone, if it is open and no stream uses it."""
        check_process(self._held.process)
        with self._held.lock:
            if self._held.engine is None:
                raise HostError("the accelerator is closed")
            if self._held.pipeline is not None:
                raise HostError("run_many is in progress: exhaust or close it first")
            yield self._held.engine

    def _stream_ended(self, statistics: StreamStatistics) -> None:
        self.stream_statistics, self._held.pipeline = statistics, None

    def _prepare(self, array: np.ndarray | Mapping[str, np.ndarray], slot: Slot) -> float:
        began = time.perf_counter()
        self._packer.pack(array, slot.input)
        slot.buffer.flush()
        return time.perf_counter() - began

    def _compute(self, slot: Slot, prepare_s: float) -> FrameStatistics:
        assert self._held.engine is not None
        return replace(self._held.engine.run(slot), prepare_s=prepare_s)

    def _results(self, slot: Slot) -> dict[str, np.ndarray]:
        """The stored results: not the maps behind them, which take long to read."""
        layout = self.deployment.output
        return unpack_output(layout, slot.output[: layout.results].tobytes())

    def _finish(self, slot: Slot, statistics: FrameStatistics) -> Outputs:
        began = time.perf_counter()
        slot.buffer.invalidate()
        maps = self._results(slot)
        values = self.deployment.finish(maps)
        return Outputs(values, replace(statistics, finish_s=time.perf_counter() - began))


def _open_board(deployment: Deployment, download: bool) -> Device:
    if deployment.bitstream is None:
        raise DeployError(
            f"{deployment.path}: holds no .bit: build the Vivado project and copy .bit and .hwh "
            "into this folder under one name"
        )
    from fpga_gen_host.pynq_device import PynqDevice

    made = deployment.clock_hz / 1e6 if deployment.double_clock else None
    return PynqDevice(deployment.bitstream, download=download, clock_mhz=made)
