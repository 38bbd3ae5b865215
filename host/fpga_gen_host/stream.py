"""Many frames: pictures are prepared and results finished while the accelerator computes."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from fpga_gen_host.engine import Slot
from fpga_gen_host.errors import check_process
from fpga_gen_host.power import PowerRecorder
from fpga_gen_host.statistics import FrameStatistics, StreamStatistics

R = TypeVar("R")
Prepare = Callable[[np.ndarray, Slot], float]  # -> seconds
Compute = Callable[[Slot, float], FrameStatistics]
Finish = Callable[[Slot, FrameStatistics], R]
POLL = 0.2  # seconds


class FrameStream(Generic[R]):
    """Results in the order of the frames; an iterator, an async iterator and a context manager.

    Three stages, one thread each, pass slots on: frame i+1 is prepared and frame i-1 finished
    while frame i is computed. Frames are taken from the iterable in the first thread, at most as
    many ahead as there are slots. An error of any stage ends the stream and is raised in the
    frame's place in the order. Leaving early: `close`, or the end of a `with` block; neither waits
    for the iterable, which may block for ever. A cancelled wait ends the stream.
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
        loop = asyncio.get_running_loop()
        try:
            result = await loop.run_in_executor(None, self._pipeline.next)
        except asyncio.CancelledError:
            # The result is lost, and the thread that waits for it must not outlive the loop.
            loop.run_in_executor(None, self.close)
            raise
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


@dataclass(frozen=True)
class _Failure:
    """What a stage raised, in the place of its result."""

    error: BaseException


class Pipeline(Generic[R]):
    """The stages of a stream. recorder: samples power meanwhile; on_close: gets the totals.

    The threads start with the first `next`. They are daemons: a program ends although its iterable
    blocks. A stage hands None on behind its last result.
    """

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
        self._prepare, self._compute, self._finish = prepare, compute, finish
        self._free: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._room = threading.Semaphore(len(slots))  # frames that may be taken ahead of results
        self._prepared, self._computed, self._results = (queue.SimpleQueue() for _ in range(3))
        self._ended = threading.Event()  # no further frame is taken
        self._dropped = threading.Event()  # nobody wants the results
        # Reentrant: the garbage collector may call `close` at any place.
        self._preparing, self._closing = threading.RLock(), threading.RLock()
        self._closed = False
        self._process = os.getpid()
        self._recorder, self._on_close = recorder, on_close
        self._count, self._began = 0, 0.0
        works = {"prepare": self._take, "compute": self._run, "finish": self._hand_over}
        self._threads = [threading.Thread(target=w, name=n, daemon=True) for n, w in works.items()]
        self._started = False

    def next(self) -> R | None:
        """The next result; None after the last one."""
        check_process(self._process)
        if self._closed:
            return None
        try:
            self._start()
            result = self._wait()
            if isinstance(result, _Failure):
                raise result.error
            if result is not None:
                self._count += 1
                self._room.release()  # the stages stay busy while the caller looks at the result
                return result
        except BaseException:
            self.close()
            raise
        self.close()
        return None

    def _wait(self) -> R | _Failure | None:
        """The next of the results. Python looks for signals between two waits: where another thread
        took Ctrl-C, or it came just before the wait, nothing ends the latter."""
        while True:
            try:
                return self._results.get(timeout=POLL)
            except queue.Empty:
                continue

    def close(self) -> None:
        """See `FrameStream.close`. A call that was interrupted may be repeated."""
        if os.getpid() != self._process:
            return  # the threads are the parent's
        with self._closing:
            self._ended.set()
            self._dropped.set()
            self._room.release()
            self._free.put(None)
            with self._preparing:  # from here on no slot is written
                pass
            self._prepared.put(None)
            for thread in self._threads[1:]:
                if thread.is_alive() and thread is not threading.current_thread():
                    thread.join()
            self._results.put(None)  # for callers that wait in other threads
            if self._closed:
                return
            seconds = time.perf_counter() - self._began if self._started else 0.0
            watts, name = None, ""
            if self._recorder:
                self._recorder.stop()
                watts, name = self._recorder.mean_watts, self._recorder.sensor.name
            self._on_close(StreamStatistics(self._count, seconds, watts, name))
            self._closed = True

    def _start(self) -> None:
        if self._started:
            return
        self._started, self._began = True, time.perf_counter()
        if self._recorder:
            self._recorder.start()
        for thread in self._threads:
            thread.start()

    # --- the stages, one thread each -------------------------------------------------------
    def _take(self) -> None:
        """Takes frames and prepares them. `close` waits for the latter alone."""
        try:
            while True:
                self._room.acquire()
                if self._ended.is_set():
                    break
                frame = next(self._frames)
                slot = self._free.get()
                with self._preparing:
                    if self._ended.is_set() or slot is None:
                        break
                    self._prepared.put((slot, self._prepare(frame, slot)))
        except StopIteration:
            pass
        except BaseException as error:
            self._prepared.put(_Failure(error))
        self._prepared.put(None)

    def _run(self) -> None:
        def work(item: tuple[Slot, float]) -> tuple[Slot, FrameStatistics]:
            slot, seconds = item
            return slot, self._compute(slot, seconds)

        self._pass_on(self._prepared, work, self._computed)

    def _hand_over(self) -> None:
        def work(item: tuple[Slot, FrameStatistics]) -> R:
            slot, statistics = item
            result = self._finish(slot, statistics)
            self._free.put(slot)
            return result

        self._pass_on(self._computed, work, self._results)

    def _pass_on(
        self, source: queue.SimpleQueue, work: Callable, target: queue.SimpleQueue
    ) -> None:
        """Until the last item or `close`. After an error no further frame is taken."""
        while (item := source.get()) is not None and not self._dropped.is_set():
            if not isinstance(item, _Failure):
                try:
                    item = work(item)
                except BaseException as error:
                    self._ended.set()
                    item = _Failure(error)
            target.put(item)
        target.put(None)
