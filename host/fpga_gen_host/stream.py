"""Many frames: pictures are prepared and results finished while the accelerator computes."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from fpga_gen_host.engine import Slot
from fpga_gen_host.power import PowerRecorder
from fpga_gen_host.statistics import FrameStatistics, StreamStatistics

R = TypeVar("R")
T = TypeVar("T")
Prepare = Callable[[np.ndarray, Slot], float]  # -> seconds
Compute = Callable[[Slot, float], FrameStatistics]
Finish = Callable[[Slot, FrameStatistics], R]


class FrameStream(Generic[R]):
    """Results in the order of the frames; an iterator, an async iterator and a context manager.

    Three stages, one thread each, pass slots on: frame i+1 is prepared and frame i-1 finished
    while frame i is computed. Frames are taken from the iterable in the first thread, at most as
    many ahead as there are slots. An error of any stage ends the stream and is raised in the
    frame's place in the order. Leaving early: `close`, or the end of a `with` block.
    """

    def __init__(self, pipeline: Pipeline[R]) -> None:
        self._pipeline = pipeline  # which knows nothing of this handle: dropping it closes

    def __iter__(self) -> FrameStream[R]:
        return self

    def __next__(self) -> R:
        result = self._pipeline.next()
        if result is None:
            raise StopIteration
        return result

    def __aiter__(self) -> FrameStream[R]:
        return self

    async def __anext__(self) -> R:
        result = await asyncio.get_running_loop().run_in_executor(None, self._pipeline.next)
        if result is None:
            raise StopAsyncIteration
        return result

    def __enter__(self) -> FrameStream[R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> FrameStream[R]:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Waits for the frame being computed and drops the rest; a second call does nothing."""
        self._pipeline.close()


class Pipeline(Generic[R]):
    """The stages of a stream. recorder: samples power meanwhile; on_close: gets the totals."""

    def __init__(
        self,
        frames: Iterable[np.ndarray],
        slots: tuple[Slot, ...],
        prepare: Prepare,
        compute: Compute,
        finish: Finish[R],
        recorder: PowerRecorder | None,
        on_close: Callable[[StreamStatistics], None],
    ) -> None:
        self._frames = iter(frames)
        self._stages = (prepare, compute, finish)
        self._depth = len(slots)
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._ended = threading.Event()  # no further frame is taken
        self._closed = False
        self._closing = threading.Lock()
        self._pending: deque[Future] = deque()
        self._recorder, self._on_close = recorder, on_close
        self._count = 0
        self._began = time.perf_counter()
        names = ("prepare", "compute", "finish")
        self._pools = [ThreadPoolExecutor(1, thread_name_prefix=n) for n in names]
        if recorder:
            recorder.start()

    def next(self) -> R | None:
        """The next result; None after the last one."""
        if self._closed:
            return None
        try:
            while len(self._pending) < self._depth:
                self._submit()
            result = self._pending.popleft().result()
            if result is not None:
                self._count += 1
                self._submit()  # the stages stay busy while the caller looks at the result
                return result
        except BaseException:
            self.close()
            raise
        self.close()
        return None

    def close(self) -> None:
        """See `FrameStream.close`."""
        with self._closing:
            if self._closed:
                return
            self._ended.set()
            for pool in self._pools:
                pool.shutdown(wait=True, cancel_futures=True)
            seconds = time.perf_counter() - self._began
            watts, name = None, ""
            if self._recorder:
                self._recorder.stop()
                watts, name = self._recorder.mean_watts, self._recorder.sensor.name
            self._closed = True
            self._on_close(StreamStatistics(self._count, seconds, watts, name))

    # --- the stages ------------------------------------------------------------------------
    def _submit(self) -> None:
        first, second, third = self._pools
        prepared = first.submit(self._prepare)
        computed = second.submit(self._compute, prepared)
        self._pending.append(third.submit(self._finish, computed))

    def _prepare(self) -> tuple[Slot, float] | None:
        if self._ended.is_set():
            return None
        try:
            frame = next(self._frames)
        except BaseException as error:
            self._ended.set()
            if isinstance(error, StopIteration):
                return None
            raise
        return self._stage(lambda slot: (slot, self._stages[0](frame, slot)), self._free.get())

    def _compute(self, prepared: Future) -> tuple[Slot, FrameStatistics] | None:
        passed = prepared.result()
        if passed is None:
            return None
        slot, seconds = passed
        return self._stage(lambda slot: (slot, self._stages[1](slot, seconds)), slot)

    def _finish(self, computed: Future) -> R | None:
        passed = computed.result()
        if passed is None:
            return None
        slot, statistics = passed
        result = self._stage(lambda slot: self._stages[2](slot, statistics), slot)
        self._free.put(slot)
        return result

    def _stage(self, work: Callable[[Slot], T], slot: Slot) -> T:
        """Runs one stage; an error frees the slot, and no further frame is taken."""
        try:
            return work(slot)
        except BaseException:
            self._ended.set()
            self._free.put(slot)
            raise
