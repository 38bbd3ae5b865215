"""PYNQ.remote's gRPC services on a `Machine`. Messages and service names are pynq's own.

The client looks for the text of an error in `msg` where a reply has that field; elsewhere an error
ends the call with a gRPC status.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
import numpy as np
from pynq.remote import (
    buffer_pb2,
    buffer_pb2_grpc,
    mmio_pb2,
    mmio_pb2_grpc,
    remote_device_pb2,
    remote_device_pb2_grpc,
)

from fpga_gen.board.machine import Machine, Region
from fpga_gen.board.memory import BoardBuffer
from fpga_gen.errors import BoardError, FpgaGenError

R = TypeVar("R")
CHUNK = 2 << 20  # bytes of a message of a stream, as the client sends them
STREAM_S = 120.0  # a client that stalls in the middle of a stream is cut off
MAX_STREAMS = 16  # at once


class Streams:
    """Keeps stalled or too many streams from using up the server's threads."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_STREAMS)

    def guard(self, context: grpc.ServicerContext) -> None:
        """Takes a place until the call ends, at most STREAM_S; ends the call if none is free."""
        if not self._free.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {MAX_STREAMS} streams")
        timer = threading.Timer(STREAM_S, context.cancel)
        timer.daemon = True

        def ended() -> None:
            timer.cancel()
            self._free.release()

        if context.add_callback(ended):
            timer.start()
        else:  # the client has gone already
            self._free.release()
            context.abort(grpc.StatusCode.CANCELLED, "the call has ended")


def _told(reply: Callable[..., R], work: Callable[[], dict[str, Any]]) -> R:
    """A reply with the values of `work`, or with the text of its error in `msg`."""
    try:
        return reply(**work())
    except FpgaGenError as error:
        return reply(msg=str(error))


class DeviceService(remote_device_pb2_grpc.RemoteDeviceServicer):
    """Files and the loading of a bitstream."""

    def __init__(self, machine: Machine, streams: Streams) -> None:
        self._machine, self._streams = machine, streams

    def set_bitstream_attrs(self, request, context):
        self._machine.forget_firmware()
        return remote_device_pb2.SetBitstreamAttrsResponse(status=True)

    def existsfile(self, request, context):
        exists = self._machine.file(request.file_path) is not None
        return remote_device_pb2.ExistsFileResponse(exists=exists)

    def readfile(self, request, context):
        self._streams.guard(context)
        data = self._machine.file(request.file_path)
        if data is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no file {request.file_path[:80]!r}")
            return  # never reached: the call ends by an exception
        for at in range(0, len(data), CHUNK):
            yield remote_device_pb2.ReadFileResponse(data=data[at : at + CHUNK])

    def writefile(self, requests, context):
        self._streams.guard(context)
        try:
            path, data = self._collect(requests)
            self._machine.write_file(path, data, context.peer())
        except FpgaGenError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return remote_device_pb2.WriteFileResponse()

    def _collect(self, requests: Iterator[Any]) -> tuple[str, bytes]:
        """Path and contents of one stream of chunks."""
        path, data = None, bytearray()
        for request in requests:
            if path is not None and request.file_path != path:
                raise BoardError("the chunks of one stream are of several files")
            path = request.file_path
            data += request.data
            if len(data) > self._machine.room(path):
                raise BoardError(
                    f"{path[:80]!r}: more than {self._machine.room(path)} bytes: this is not the "
                    "bitstream of this virtual board"
                )
        if path is None:
            raise BoardError("an empty stream: nothing to write")
        return path, bytes(data)


class MmioService(mmio_pb2_grpc.MmioServicer):
    """Registers. The id of a region says where it is, so nothing has to be kept for a client."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def get_mmio(self, request, context):
        def work() -> dict[str, Any]:
            region = self._machine.region(request.base_addr, request.length)
            return {"status": True, "mmio_id": f"{region.base:x}+{region.length:x}"}

        return _told(mmio_pb2.GetMmioResponse, work)

    def read(self, request, context):
        def work() -> dict[str, Any]:
            region = self._region(request.mmio_id)
            data = self._machine.read(region, request.offset, request.length)
            return {"status": True, "data": data}

        return _told(mmio_pb2.ReadResponse, work)

    def write(self, request, context):
        def work() -> dict[str, Any]:
            self._machine.write(self._region(request.mmio_id), request.offset, request.data)
            return {"status": True}

        return _told(mmio_pb2.WriteResponse, work)

    def _region(self, name: str) -> Region:
        base, _, length = name[:40].partition("+")
        try:
            return self._machine.region(int(base, 16), int(length, 16))
        except ValueError as error:
            raise BoardError(f"no register region {name[:40]!r}") from error


class BufferService(buffer_pb2_grpc.RemoteBufferServicer):
    """Memory that client and accelerator share. It has no cache: flush and invalidate do nothing
    but check."""

    def __init__(self, machine: Machine, streams: Streams) -> None:
        self._memory, self._streams = machine.memory, streams

    def allocate(self, request, context):
        # The client does not look at `msg` here, so an error has to end the call.
        try:
            np.dtype(request.dtype or "u1")
            buffer = self._memory.allocate(request.size, context.peer())
        except TypeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"no such type: {request.dtype[:40]!r}")
        except FpgaGenError as error:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        return buffer_pb2.AllocateResponse(buffer_id=buffer.name)

    def freebuffer(self, request, context):
        def work() -> dict[str, Any]:
            self._memory.free(request.buffer_id)
            return {}

        return _told(buffer_pb2.FreeBufferResponse, work)

    def physical_address(self, request, context):
        return self._address(request)

    def virtual_address(self, request, context):
        return self._address(request)

    def _address(self, request):
        def work() -> dict[str, Any]:
            return {"address": self._memory.find(request.buffer_id).address}

        return _told(buffer_pb2.AddressResponse, work)

    def cacheable(self, request, context):
        def work() -> dict[str, Any]:
            self._memory.find(request.buffer_id)
            return {"cacheable": True}

        return _told(buffer_pb2.CacheableResponse, work)

    def flush(self, request, context):
        return self._exists(buffer_pb2.FlushResponse, request)

    def invalidate(self, request, context):
        return self._exists(buffer_pb2.InvalidateResponse, request)

    def _exists(self, reply, request):
        def work() -> dict[str, Any]:
            self._memory.find(request.buffer_id)
            return {}

        return _told(reply, work)

    def write(self, requests, context):
        self._streams.guard(context)

        def work() -> dict[str, Any]:
            at = 0
            for request in requests:
                buffer = self._memory.find(request.buffer_id)
                placed = request.start or request.end  # 0, 0: behind the chunk before
                start = request.start if placed else at
                at = start + len(request.data)
                self._span(buffer, start, at)
                if placed and at != request.end:
                    raise BoardError(f"{len(request.data)} bytes for {start} to {request.end}")
                buffer.array[start:at] = np.frombuffer(request.data, np.uint8)
            return {}

        return _told(buffer_pb2.BufferWriteResponse, work)

    def read(self, request, context):
        self._streams.guard(context)
        try:
            buffer = self._memory.find(request.buffer_id)
            start, end = request.start, request.end or len(buffer.array)
            self._span(buffer, start, end)
        except FpgaGenError as error:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, str(error))
        for at in range(start, end, CHUNK):
            data = buffer.array[at : min(at + CHUNK, end)].tobytes()
            yield buffer_pb2.BufferReadResponse(data=data)

    @staticmethod
    def _span(buffer: BoardBuffer, start: int, end: int) -> None:
        if not 0 <= start <= end <= len(buffer.array):
            raise BoardError(
                f"bytes {start} to {end} are not in the {len(buffer.array)} bytes of {buffer.name}"
            )
