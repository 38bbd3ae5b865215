"""A PYNQ board (PYNQ 3.0 to 4.0) as a `Device`: under this program, or reached by PYNQ.remote.

Tested on the virtual board through pynq 4.0 itself; not run on hardware.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fpga_gen_host.errors import DeviceError
from fpga_gen_host.identity import INTERRUPT_PIN, VLNVS

POLL_S = 0.0002  # between two looks at STATUS where no interrupt reaches this program
POLL_SHARE = 0.02  # longer, if that is less than this share of the time since the last command
OPEN_S = 60.0  # loading a bitstream
CLOCK_SHARE = 0.01  # of the PL clock; the next divisor is further off
LOOP_S = 1.0  # for the event loop to take notice
REMEDY = "run this on a PYNQ board, or set PYNQ_REMOTE_DEVICES to the address of one that is up"


@cache
def bind_driver() -> type:
    """Registers the driver of the accelerator's VLNVs with PYNQ; imports pynq."""
    try:
        from pynq import DefaultIP
    except ImportError as error:
        raise DeviceError(f"pynq cannot be imported ({error}): run this on a PYNQ board") from error

    class FpgaGenDriver(DefaultIP):
        """Registers of an fpga-gen accelerator; the sequence is in `Engine`."""

        bindto: ClassVar[list[str]] = list(VLNVS)

    return FpgaGenDriver


@contextmanager
def _told(what: str, remedy: str = "is the board still there?") -> Iterator[None]:
    """Turns whatever pynq raises into a DeviceError of one line.

    The types differ with the way to the board: OSError, RuntimeError, MemoryError of the drivers,
    RpcError of gRPC.
    """
    try:
        yield
    except DeviceError:
        raise
    except Exception as error:
        details = getattr(error, "details", None)  # of an RpcError
        text = details() if callable(details) else str(error)
        raise DeviceError(f"{what} ({text or type(error).__name__}): {remedy}") from error


def _check_clock(bitstream: Path, overlay: Any, clock_mhz: float) -> None:
    """DeviceError if PL clock 0 is not what the clock generator of a loaded bitstream was made for:
    without a lock the accelerator does not even answer to its registers.

    PYNQ sets the clock before it loads a bitstream; programs may set `Clocks.fclk0_mhz` later.
    """
    import pynq

    with _told("cannot read the PL clock"):
        now = float(pynq.Clocks.fclk0_mhz)
    wanted = float(overlay.clock_dict[0].get("frequency", clock_mhz))  # PYNQ 3 knows divisors alone
    if abs(now - wanted) > CLOCK_SHARE * wanted:
        raise DeviceError(
            f"{bitstream}: made for a PL clock of {wanted:g} MHz, which was changed to {now:g}: "
            "load the bitstream again (download=True)"
        )


class PynqBuffer:
    """Contiguous memory from pynq.allocate, cached by the processor."""

    def __init__(self, nbytes: int) -> None:
        import pynq

        what = f"cannot allocate {nbytes} bytes of contiguous memory"
        with _told(what, "close other programs that hold some"):
            byte: Any = np.uint8  # pynq takes names of types as well, and says so alone
            self._raw: Any = pynq.allocate(shape=(nbytes,), dtype=byte)
            # Remote buffers ask the board each time, and it may be their first call that fails.
            self.device_address = int(self._raw.device_address)
        self.array: np.ndarray = self._raw.view(np.ndarray)

    def flush(self) -> None:
        with _told("cannot write to the board's memory"):
            self._raw.flush()

    def invalidate(self) -> None:
        with _told("cannot read the board's memory"):
            self._raw.invalidate()

    def free(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            with _told("cannot free memory of the board"):
                raw.freebuffer()


class PynqDevice:
    """The accelerator of a bitstream.

    PYNQ's interrupts belong to the event loop in which they are created, so overlay and driver are
    made in a loop of their own thread; `wait` works from any thread. Without an interrupt pin, and
    on a remote board, whose interrupts PYNQ does not pass on, STATUS is polled.

    remote: whether the board is another machine.

    Args:
        bitstream: .bit with its .hwh beside it.
        download: load it into the device.
        interrupt: use the interrupt if it is wired.
        clock_mhz: of the accelerator, if the bitstream makes it from the PL clock. That one must be
            as the bitstream wants it: a clock generator whose input changes loses its lock.
    """

    def __init__(
        self,
        bitstream: Path,
        *,
        download: bool = True,
        interrupt: bool = True,
        clock_mhz: float | None = None,
    ) -> None:
        bind_driver()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pynq", daemon=True)
        self._thread.start()
        try:
            self._ip = self._call(self._open(bitstream, download, clock_mhz), OPEN_S)
        except BaseException:
            self.close()
            raise
        board = getattr(self._ip, "device", None)
        self.remote = board is not None and board.has_capability("REMOTE")
        wired = interrupt and not self.remote
        self._interrupt = getattr(self._ip, INTERRUPT_PIN, None) if wired else None
        self._commanded = time.monotonic()

    @property
    def uses_interrupt(self) -> bool:
        return self._interrupt is not None

    async def _open(self, bitstream: Path, download: bool, clock_mhz: float | None) -> Any:
        import pynq

        # PYNQ.remote says so for every pin; STATUS is polled then.
        warnings.filterwarnings("ignore", "Interrupts are not yet implemented for remote devices")
        with _told(f"{bitstream}: cannot be loaded", REMEDY):
            self._overlay = overlay = pynq.Overlay(str(bitstream), download=download)
        if clock_mhz is not None:
            _check_clock(bitstream, overlay, clock_mhz)
        kinds = {v.rpartition(":")[0] for v in VLNVS}
        names = [
            name
            for name, entry in overlay.ip_dict.items()
            if str(entry.get("type", "")).rpartition(":")[0] in kinds
        ]
        if len(names) != 1:
            raise DeviceError(
                f"{bitstream}: holds {len(names)} fpga-gen accelerators, exactly one is needed"
            )
        with _told(f"{bitstream}: the accelerator does not answer"):
            return reduce(getattr, names[0].split("/"), overlay)

    def _call(self, coroutine: Any, seconds: float) -> Any:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(seconds)
        except concurrent.futures.TimeoutError as error:
            raise DeviceError(f"PYNQ does not answer within {seconds} s") from error

    # --- Device ----------------------------------------------------------------------------
    def allocate(self, nbytes: int) -> PynqBuffer:
        return PynqBuffer(nbytes)

    def read(self, offset: int) -> int:
        with _told("cannot read a register"):
            return int(self._ip.read(offset))

    def write(self, offset: int, value: int) -> None:
        with _told("cannot write a register"):
            self._ip.write(offset, value)
        self._commanded = time.monotonic()

    def wait(self, seconds: float) -> None:
        interrupt = self._interrupt
        if interrupt is None:
            elapsed = time.monotonic() - self._commanded
            time.sleep(min(seconds, max(POLL_S, POLL_SHARE * elapsed)))
            return

        async def pause() -> None:
            try:
                await asyncio.wait_for(interrupt.wait(), seconds)
            except asyncio.TimeoutError:
                pass  # the caller looks at STATUS

        self._call(pause(), seconds + LOOP_S)

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
