"""A deploy folder written by hand and a device in Python that checks every rule of the sequence."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fpga_gen_host import registers as r
from fpga_gen_host.deployment import own_identity
from fpga_gen_host.layout_file import VERSION

HASH = 0x1122334455667788
PORTS = 4
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def map_json(
    tensor: str,
    shape: tuple[int, int, int],
    bits: int = 8,
    word: int = 16,
    positions: list[int] | None = None,
) -> dict:
    """A map as layout.json has it, planes packed tightly."""
    c, h, w = shape
    positions = positions or list(range(c))
    planes = -(-(max(positions) + 1) // word)
    half = planes * h * w
    return {
        "tensor": tensor, "channels": c, "height": h, "width": w, "word_channels": word,
        "plane": h * w, "low": half if bits == 16 else 0, "words": half * bits // 8,
        "positions": positions, "byte_offset": 0,
    }  # fmt: skip


def format_json(bits: int = 8, zero: int = 0) -> dict:
    top = 1 << (bits - 1)
    return {"name": "", "bits": bits, "zero": zero, "lo": -top, "hi": top - 1}


def layout_json(
    size: tuple[int, int] = (8, 12),
    *,
    block: int = 2,
    bits: int = 8,
    word: int = 16,
    channels: int = 3,
    positions: list[int] | None = None,
    fit: str = "stretch",
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    pixels: bool = False,
    packed: bool = False,
    host_ops: list[dict] | None = None,
) -> dict:
    """A network whose output is one 8-bit map of half the picture's size."""
    height, width = size
    rows, columns = height + pads[0] + pads[2], width + pads[1] + pads[3]
    shape = (channels * block * block, rows // block, columns // block)
    gain = [255 * v for v in STD[:channels]] if pixels else []
    offset = [255 * v for v in MEAN[:channels]] if pixels else []
    image = map_json("image", shape, bits, word, positions)
    load = PORTS * 16 // word
    stream = -(-image["words"] // load)
    out_shape = (1, height // 2, width // 2)
    out = map_json("out", out_shape, word=word)
    out_bytes = out["words"] * word
    return {
        "version": VERSION,
        "regions": {
            "program_bytes": 128,
            "program_stream_words": 2,
            "weights_bytes": 320,
            "input_bytes": (stream - stream // 4 * packed) * PORTS * 16,
            "output_bytes": out_bytes,
        },
        "input": {
            "map": image, "part": stream, "load_words": load, "ports": PORTS, "packed": packed,
        },
        "cycles": 400,
        "output": {"maps": [out], "offsets": [0], "bytes": out_bytes},
        "tensors": {
            "input": {
                "name": "image", "shape": list(shape),
                "scale": 1.0 if pixels else 0.02 / 2 ** (bits - 8),
                "format": format_json(bits, -128 if pixels else 0),
            },
            "outputs": [
                {"name": "out", "shape": list(out_shape), "scale": 0.5, "format": format_json()}
            ],
        },
        "output_names": ["mask"],
        "host_input": {
            "model_shape": [channels, height, width], "space_to_depth": block,
            "pads": list(pads), "gain": list(gain), "offset": list(offset),
        },
        "host_ops": host_ops or [],
        "preprocess": {"normalise": "imagenet", "fit": fit, "mean": MEAN, "std": STD, "grey": 114},
        "instructions": [["load", "image"], ["conv", "first"], ["end", ""]],
    }  # fmt: skip


def write_deploy(path: Path, layout: dict | None = None, **manifest: object) -> Path:
    """A folder whose manifest fits its files; manifest: entries to replace."""
    path.mkdir(parents=True, exist_ok=True)
    files = {
        "program.bin": bytes(range(128)),
        "weights.bin": bytes(range(64)) * 5,
        "layout.json": json.dumps(layout or layout_json()).encode(),
    }
    for name, data in files.items():
        (path / name).write_bytes(data)
    facts = {
        "format": 2,
        "register_map": r.INTERFACE_VERSION,
        "design_hash": f"{HASH:016x}",
        "identity": own_identity(),
        "clock_mhz": 200.0,
        "parameters": {"ports": PORTS},
        "files": {
            n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()
        },
        **manifest,
    }
    (path / "manifest.json").write_text(json.dumps(facts))
    return path


class FakeBuffer:
    def __init__(self, owner: FakeDevice, address: int, nbytes: int) -> None:
        self._owner = owner
        self.device_address = address
        self.array = np.random.default_rng(1).integers(0, 256, nbytes, np.uint8)
        self.visible: bytes | None = None  # what the accelerator sees: the last flush
        self.result: tuple[int, bytes] | None = None  # what it wrote and where, until invalidate

    def flush(self) -> None:
        self.visible = self.array.tobytes()

    def invalidate(self) -> None:
        assert self.result is not None
        at, data = self.result
        self.array[at : at + len(data)] = np.frombuffer(data, np.uint8)

    def free(self) -> None:
        self._owner.live.remove(self)


class FakeDevice:
    """Registers with the semantics of the hardware.

    compute: input region -> output region. seconds: time of a frame. fail: error codes of the next
    frames, None for a good one. hang: frames never end. stuck: soft reset never ends.
    memory: bytes that can be allocated.
    """

    buffer_type: type[FakeBuffer] = FakeBuffer

    def __init__(self, compute: Callable[[bytes], bytes], *, seconds: float = 0.0) -> None:
        self.compute, self.seconds = compute, seconds
        self.fail: list[int | None] = []
        self.hang = self.stuck = self.closed = False
        self.memory = 1 << 24
        self.live: list[FakeBuffer] = []
        self.frames = self.resets = self.ignored_starts = 0
        self._next = 0x8_0000_0000
        self._ends: float | None = None
        self._result: bytes | None = None  # of the frame that runs; None: its input is not flushed
        self.registers = {
            r.ID: r.MAGIC,
            r.VERSION: r.INTERFACE_VERSION,
            r.HASH_LO: HASH & 0xFFFFFFFF,
            r.HASH_HI: HASH >> 32,
            r.CONFIG: PORTS,
            r.STATUS: 0,
        }

    # --- Device ----------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> FakeBuffer:
        if nbytes > self.memory:
            raise MemoryError("no contiguous memory")
        self.memory -= nbytes
        buffer = self.buffer_type(self, self._next, nbytes)
        self._next += -(-nbytes // 4096) * 4096 + 8192
        self.live.append(buffer)
        return buffer

    def read(self, offset: int) -> int:
        assert not self.closed
        if offset == r.STATUS:
            self._advance()
        if offset == r.CYCLES and self._ends is not None:
            return self.clock()
        if offset == r.LAYER_START:
            return 100 * self.registers[r.LAYER_SELECT] + 7
        return self.registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        assert not self.closed
        assert 0 <= value < 1 << 32
        if offset == r.CONTROL:
            if value & r.CONTROL_SOFT_RESET_MASK:
                self.resets += 1
                self._ends = None
                self.registers[r.STATUS] = r.STATUS_DRAINING_MASK if self.stuck else 0
            if value & r.CONTROL_START_MASK:
                self._start()
        elif offset == r.STATUS:
            ended = r.STATUS_DONE_MASK | r.STATUS_ERROR_MASK
            self.registers[offset] &= ~(value & ended)
        else:
            self.registers[offset] = value

    def wait(self, seconds: float) -> None:
        left = seconds if self._ends is None else self._ends - time.monotonic()
        time.sleep(max(0.0, min(seconds, left)))

    def close(self) -> None:
        self.closed = True

    def clock(self) -> int:
        """CYCLES of a frame that has not ended: it stands still."""
        return 0

    # --- the accelerator -------------------------------------------------------------------
    def address(self, low: int) -> int:
        return self.registers[low] | self.registers[low + 4] << 32

    def readable(self, begin: int, end: int) -> bool:
        """Whether these addresses lie in a read window."""
        windows = (
            (r.READ_WINDOW0_BASE_LO, r.READ_WINDOW0_LIMIT_LO),
            (r.READ_WINDOW1_BASE_LO, r.READ_WINDOW1_LIMIT_LO),
        )
        return any(
            self.address(low) <= begin and end <= self.address(high) for low, high in windows
        )

    def writable(self, begin: int, end: int) -> bool:
        """Whether these addresses lie in the write window."""
        low, high = self.address(r.WRITE_WINDOW_BASE_LO), self.address(r.WRITE_WINDOW_LIMIT_LO)
        return low <= begin and end <= high

    def _at(self, address: int, nbytes: int, write: bool = False) -> tuple[FakeBuffer, int]:
        """Buffer and offset of a transfer; it must lie in a window and in one live buffer."""
        assert address % 16 == 0
        assert (self.writable if write else self.readable)(address, address + nbytes)
        for buffer in self.live:
            at = address - buffer.device_address
            if 0 <= at and at + nbytes <= len(buffer.array):
                return buffer, at
        raise AssertionError(f"0x{address:x} is no allocated memory")

    def fetch(self, low: int, nbytes: int) -> bytes:
        buffer, at = self._at(self.address(low), nbytes)
        assert buffer.visible is not None, "not flushed"
        return buffer.visible[at : at + nbytes]

    def _start(self) -> None:
        """As the hardware: a start while it is active changes nothing."""
        if self.registers[r.STATUS] & (r.STATUS_BUSY_MASK | r.STATUS_DRAINING_MASK):
            self.ignored_starts += 1
            return
        assert self.registers[r.STATUS] == 0, "started before the last end was acknowledged"
        self.registers[r.STATUS] = r.STATUS_BUSY_MASK
        self.registers[r.FRAME_RUN] = self.registers.get(r.FRAME, 0)
        self._ends = time.monotonic() + (1e9 if self.hang else self.seconds)
        buffer, at = self._at(self.address(r.INPUT_LO), 16)
        self._result = None if buffer.visible is None else self.compute(buffer.visible[at:])

    def _advance(self) -> None:
        if self._ends is None or time.monotonic() < self._ends:
            return
        self._ends = None
        code = self.fail.pop(0) if self.fail else None
        if code:
            self.registers[r.STATUS] = (
                r.STATUS_ERROR_MASK | code << r.STATUS_ERROR_CODE_SHIFT
                | 0x21 << r.STATUS_ERROR_INFO_SHIFT
            )  # fmt: skip
            return
        assert self.fetch(r.PROGRAM_LO, 128) == bytes(range(128))
        assert self.fetch(r.WEIGHTS_LO, 320) == bytes(range(64)) * 5
        assert self.registers[r.PROGRAM_WORDS] == 128 // (16 * PORTS)
        assert self._result is not None
        target, at = self._at(self.address(r.OUTPUT_LO), len(self._result), write=True)
        target.result = (at, self._result)
        self.frames += 1
        self.registers[r.STATUS] = r.STATUS_DONE_MASK
        self.registers |= {r.CYCLES: 400, r.BUSY: 300, r.LAYER_INDEX: 3, r.WRITE_BEATS: 2}
        self.registers |= {r.READ_BEATS_0 + 4 * k: 10 + k for k in range(PORTS)}


def first_bytes(count: int) -> Callable[[bytes], bytes]:
    """An accelerator that copies the beginning of its input."""
    return lambda data: data[:count]
