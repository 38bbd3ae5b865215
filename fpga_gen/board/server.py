"""The gRPC server of a virtual board: loopback only, bounded in threads, messages and streams."""

from __future__ import annotations

import ctypes
import ipaddress
from concurrent.futures import ThreadPoolExecutor

import grpc
from pynq.remote import buffer_pb2_grpc, mmio_pb2_grpc, remote_device_pb2_grpc

from fpga_gen.board.machine import Machine
from fpga_gen.board.services import (
    MAX_STREAMS,
    BufferService,
    DeviceService,
    MmioService,
    Streams,
)
from fpga_gen.errors import BoardError

PORT = 7967  # fixed in pynq's client
THREADS = MAX_STREAMS + 16  # streams never take the last ones
MAX_CALLS = 256  # at once; more are refused
MAX_MESSAGE = 4 << 20  # bytes; the client sends chunks of 2 MiB
STOP_S = 1.0
M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3  # malloc.h


class BoardServer:
    """Serves a machine until `stop`.

    Raises:
        BoardError: the address is not of this machine alone, or is in use.
    """

    def __init__(self, machine: Machine, address: str = "127.0.0.1", port: int = PORT) -> None:
        check_loopback(address)
        self._server = grpc.server(
            ThreadPoolExecutor(THREADS, thread_name_prefix="board"),
            maximum_concurrent_rpcs=MAX_CALLS,
            options=(
                ("grpc.so_reuseport", 0),  # a second board must not share the port unseen
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
                ("grpc.max_metadata_size", 16 << 10),
            ),
        )
        streams = Streams()
        remote_device_pb2_grpc.add_RemoteDeviceServicer_to_server(
            DeviceService(machine, streams), self._server
        )
        mmio_pb2_grpc.add_MmioServicer_to_server(MmioService(machine), self._server)
        buffer_pb2_grpc.add_RemoteBufferServicer_to_server(
            BufferService(machine, streams), self._server
        )
        try:
            self.port = self._server.add_insecure_port(f"{address}:{port}")
        except RuntimeError as error:
            raise BoardError(
                f"{address}:{port} cannot be opened: is another board running there? "
                "--address 127.0.0.2 (or any of 127.0.0.0/8) gives this one a place of its own"
            ) from error
        self._server.start()

    def wait(self, seconds: float | None = None) -> None:
        """Returns when the server has stopped, or after `seconds`."""
        self._server.wait_for_termination(seconds)

    def stop(self) -> None:
        """Ends all calls."""
        self._server.stop(STOP_S).wait()


def keep_memory_steady() -> None:
    """Tells glibc to give large blocks back to the system and to share its pools among threads.

    Messages of megabytes, handled by many threads, otherwise leave a pool per thread behind that
    only grows. Of the whole process, so for the command, not for the library.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_ARENA_MAX, 2)
        library.mallopt(M_MMAP_THRESHOLD, 1 << 17)


def check_loopback(address: str) -> None:
    """BoardError unless the address is reachable from this machine alone: whoever reaches the
    board may use it."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError as error:
        raise BoardError(f"{address!r} is no IPv4 address; use 127.0.0.1") from error
    if not parsed.is_loopback:
        raise BoardError(f"{address} is not of this machine alone; use one of 127.0.0.0/8")
