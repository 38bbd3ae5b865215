"""A thousand requests that no client should send, against the server in a process of its own."""

from __future__ import annotations

import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pynq.remote import buffer_pb2, buffer_pb2_grpc, mmio_pb2, mmio_pb2_grpc, remote_device_pb2
from pynq.remote.remote_device_pb2_grpc import RemoteDeviceStub

from fpga_gen.board.server import PORT
from fpga_gen.board.services import MAX_STREAMS
from tests.board.running import BoardProcess, Running, run_client, start_process

pytestmark = pytest.mark.timeout(900)
REQUESTS = int(os.environ.get("FPGA_GEN_REQUESTS", "1000"))
SEED = int(os.environ.get("FPGA_GEN_SEED", "3"))
WARM_UP = 1000  # requests before them, in which threads and allocators take what they need
SERVER_DOWN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
GROWTH = 8 << 20  # bytes that memory may move afterwards; it moves by 4 MiB up and down
LIMIT_S = 20.0
PATHS = (
    "", "/", "/etc/passwd", "/lib/firmware/../../etc/passwd", "/lib/firmware/", "\0", "x" * 5000,
    "/sys/class/fpga_manager/fpga0/firmware", "/sys/class/fpga_manager/fpga0/flags", "/dev/mem",
)  # fmt: skip
NAMES = ("", "buffer-0", "buffer-999999", "é" * 300, "a0000000+10000", "-1+4", "0x+", "+", "fd+1e9")
METHODS = (
    "/mmio.Mmio/get_mmio", "/mmio.Mmio/read", "/mmio.Mmio/write", "/mmio.Mmio/none",
    "/buffer.RemoteBuffer/allocate", "/buffer.RemoteBuffer/freebuffer",
    "/remote_device.RemoteDevice/existsfile", "/remote_device.RemoteDevice/shutdown",
    "/gpio.Gpio/get_gpio", "/", "nothing",
)  # fmt: skip


@pytest.fixture(scope="module")
def process(board: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardProcess]:
    folder = tmp_path_factory.mktemp("hostile") / "deploy"
    shutil.copytree(board.folder, folder)
    started = start_process(folder, "--memory", "8")
    yield started
    started.process.kill()
    started.process.wait()


class Attacker:
    """Sends one request of a random kind at a time; errors of the server are what it wants."""

    def __init__(self, address: str, seed: int) -> None:
        self.target = f"{address}:{PORT}"
        self.random = random.Random(seed)
        self.channel = grpc.insecure_channel(self.target)
        self.mmio = mmio_pb2_grpc.MmioStub(self.channel)
        self.buffer = buffer_pb2_grpc.RemoteBufferStub(self.channel)
        self.device = RemoteDeviceStub(self.channel)
        self.refused = 0  # by a gRPC status
        self.told = 0  # by a text in `msg`
        self.kinds: tuple[Callable[[], Any], ...] = (
            self.map, self.read, self.write, self.allocate, self.free, self.address, self.fill,
            self.fetch, self.read_file, self.write_file, self.garbage, self.big_message,
            self.cut_stream, self.raw_socket, self.other_bitstream,
        )  # fmt: skip

    def send(self) -> None:
        try:
            reply = self.random.choice(self.kinds)()
            self.told += bool(getattr(reply, "msg", ""))
        except grpc.RpcError as error:
            if error.code() in SERVER_DOWN:
                raise
            self.refused += 1

    def number(self, bits: int) -> int:
        top = (1 << bits) - 1
        low = self.random.choice((0, 1, 3, 4, 4096, 0xA0000000, 0xFF5E0000, 0x10000000))
        return min(top, self.random.choice((low, self.random.getrandbits(bits), top)))

    def name(self) -> str:
        return self.random.choice((*NAMES, f"buffer-{self.random.randrange(200)}"))

    # --- kinds of requests -----------------------------------------------------------------
    def map(self):
        request = mmio_pb2.GetMmioRequest(base_addr=self.number(64), length=self.number(64))
        return self.mmio.get_mmio(request, timeout=LIMIT_S)

    def read(self):
        request = mmio_pb2.ReadRequest(
            mmio_id=self.name(), offset=self.number(64), length=self.number(64)
        )
        return self.mmio.read(request, timeout=LIMIT_S)

    def write(self):
        data = self.random.randbytes(self.random.choice((0, 1, 3, 5, 4096, 70_000)))
        request = mmio_pb2.WriteRequest(mmio_id=self.name(), offset=self.number(64), data=data)
        return self.mmio.write(request, timeout=LIMIT_S)

    def allocate(self):
        size = self.random.choice((0, 1, 5000, 3 << 20, 1 << 30, (1 << 31) - 1))
        kind = self.random.choice(("|u1", "", "nonsense", "<f4", "O" * 3000))
        request = buffer_pb2.AllocateRequest(size=size, dtype=kind)
        return self.buffer.allocate(request, timeout=LIMIT_S)

    def free(self):
        request = buffer_pb2.FreeBufferRequest(buffer_id=self.name())
        return self.buffer.freebuffer(request, timeout=LIMIT_S)

    def address(self):
        request = buffer_pb2.AddressRequest(buffer_id=self.name())
        return self.buffer.physical_address(request, timeout=LIMIT_S)

    def span(self) -> dict[str, int]:
        places = (0, 0, 5, -1, (1 << 31) - 1, -(1 << 31))
        return {"start": self.random.choice(places), "end": self.random.choice(places)}

    def fill(self):
        requests = [
            buffer_pb2.BufferWriteRequest(
                buffer_id=self.name(), data=self.random.randbytes(100_000), **self.span()
            )
            for _ in range(self.random.randrange(4))
        ]
        return self.buffer.write(iter(requests), timeout=LIMIT_S)

    def fetch(self):
        request = buffer_pb2.BufferReadRequest(buffer_id=self.name(), **self.span())
        for _ in self.buffer.read(request, timeout=LIMIT_S):
            pass

    def read_file(self):
        request = remote_device_pb2.ReadFileRequest(file_path=self.random.choice(PATHS))
        for _ in self.device.readfile(request, timeout=LIMIT_S):
            pass

    def write_file(self):
        requests = [
            remote_device_pb2.WriteFileRequest(
                file_path=self.random.choice(PATHS), data=self.random.randbytes(3000)
            )
            for _ in range(self.random.randrange(3))
        ]
        return self.device.writefile(iter(requests), timeout=LIMIT_S)

    def other_bitstream(self):
        """As the client loads one, only that it is none."""
        name, manager = "/lib/firmware/evil.bin", "/sys/class/fpga_manager/fpga0/firmware"
        evil = self.random.randbytes(self.random.choice((4, 100, 3 << 20)))
        for path, data in ((name, evil), (manager, b"evil.bin"), (manager, b"\xff\x00../x")):
            request = remote_device_pb2.WriteFileRequest(file_path=path, data=data)
            self.device.writefile(iter([request]), timeout=LIMIT_S)

    def garbage(self):
        """Bytes that are no message, to methods that may not exist."""
        call = self.channel.unary_unary(self.random.choice(METHODS))
        return call(self.random.randbytes(self.random.randrange(200)), timeout=LIMIT_S)

    def big_message(self):
        request = mmio_pb2.WriteRequest(mmio_id="a0000000+10000", data=bytes(5 << 20))
        return self.mmio.write(request, timeout=LIMIT_S)

    def cut_stream(self):
        """A client that stops in the middle."""

        def some():
            yield remote_device_pb2.WriteFileRequest(file_path="/lib/firmware/a", data=b"1")
            raise ConnectionError

        return self.device.writefile(some(), timeout=LIMIT_S)

    def raw_socket(self):
        """No HTTP/2 at all, and a connection that is dropped."""
        host, _, port = self.target.partition(":")
        with socket.create_connection((host, int(port)), timeout=LIMIT_S) as raw:
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if self.random.random() < 0.5 else b""
            raw.sendall(preface + self.random.randbytes(self.random.randrange(300)))


def test_a_thousand_requests(process: BoardProcess):
    attacker = Attacker(process.address, SEED)
    for _ in range(WARM_UP):
        attacker.send()
    resident = process.resident_bytes
    attacker.refused = attacker.told = 0
    for _ in range(REQUESTS):
        attacker.send()
    refused, told = attacker.refused, attacker.told
    print(f"seed {SEED}: {REQUESTS:,} requests, {refused:,} refused, {told:,} told")
    assert process.process.poll() is None
    assert attacker.refused > REQUESTS // 4
    assert attacker.told > REQUESTS // 10
    assert process.resident_bytes < resident + GROWTH
    attacker.channel.close()


def test_stalled_streams_do_not_block_others(process: BoardProcess):
    attacker = Attacker(process.address, seed=4)
    held = [attacker.device.writefile.future(_never(), timeout=60) for _ in range(2 * MAX_STREAMS)]
    deadline = time.monotonic() + LIMIT_S
    while sum(f.done() for f in held) < MAX_STREAMS:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for future in (f for f in held if f.done()):
        assert future.exception().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    exists = remote_device_pb2.ExistsFileRequest(file_path="/proc/version")
    assert attacker.device.existsfile(exists, timeout=LIMIT_S).exists
    for future in held:
        future.cancel()
    attacker.channel.close()


def _never() -> Iterator[Any]:
    yield remote_device_pb2.WriteFileRequest(file_path="/lib/firmware/a", data=b"1")
    threading.Event().wait(30)


def test_a_real_client_still_gets_its_frame(process: BoardProcess):
    """After all of that; it takes the board over, memory that others hold included."""
    code = """
import sys, numpy as np
from fpga_gen_host import Accelerator
with Accelerator(sys.argv[1]) as accelerator:
    print(accelerator.run(np.zeros((48, 48, 3), np.uint8))["mask"].shape)
"""
    done = run_client(process.address, code, process.folder)
    assert done.stdout.strip() == "(1, 1, 48, 48)", done.stderr[-2000:]
    assert process.process.poll() is None


def test_the_board_is_on_this_machine_alone(process: BoardProcess):
    listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    places = [line.split()[1] for line in listening.splitlines() if f":{PORT:04X} " in line]
    own = bytes(int(v) for v in process.address.split("."))[::-1].hex().upper()
    # As IPv4, or as an IPv4 address in IPv6 form.
    assert any(place.endswith(f"{own}:{PORT:04X}") for place in places)
    assert not any(set(place.partition(":")[0]) == {"0"} for place in places)
