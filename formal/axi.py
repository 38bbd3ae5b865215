"""What AMBA AXI4 (IHI 0022) asks of a master's address channel, and this project of its own."""

from __future__ import annotations

from formal.bench import Bench

INCR, WORD = 1, 4  # AxBURST; AxSIZE of 16 bytes
PAGE = 4096


def address_channel(b: Bench, pins, letters: str, longest: int) -> None:
    """Channel "ar" or "aw": handshake (A3.2.1), length, size and burst type (A3.4.1), 4 KiB."""
    valid, ready, address, length, size, burst = (
        getattr(pins, letters + name) for name in ("valid", "ready", "addr", "len", "size", "burst")
    )
    b.stable(valid, ready, address, length, what=letters.upper())
    b.prove((size == WORD) & (burst == INCR), "16-byte beats of incrementing bursts")
    b.prove(~valid | (length < longest), "a burst is too long")
    b.prove(~valid | (address[:4] == 0), "an address that is not aligned")
    b.prove(~valid | (address[:12] + ((length + 1) << 4) <= PAGE), "a burst crosses 4 KiB")
