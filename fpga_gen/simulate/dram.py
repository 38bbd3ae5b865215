"""Configuration and arithmetic of the DRAM model in dram.h."""

from __future__ import annotations

from dataclasses import dataclass

from fpga_gen.errors import SimulationError
from fpga_gen_host.regions import BEAT_BYTES


@dataclass(frozen=True)
class DramConfig:
    """What lies behind the AXI ports. Times are cycles of the accelerator's clock.

    The defaults stand for 64-bit DDR4-2400 seen from 300 MHz: 64 B/cycle at peak, refresh of
    350 ns every 7.8 us, and at most 80 % of the peak sustained.

    base: address of the first byte; size: bytes.
    bytes_per_cycle: peak of all ports together, both directions.
    sustained: fraction of the peak at which the token bucket fills.
    bucket_bytes: how much may be moved at peak rate after a pause.
    burst_overhead: bytes of bandwidth lost per burst (opening a row).
    refresh_interval, refresh_length: nothing moves for `length` cycles of every `interval`; 0: off.
    read_latency: AR handshake to first R handshake; write_latency: last W handshake to B.
    outstanding: bursts a port queues in each direction; max_burst_beats: longest burst accepted.
    jitter: probability with which a handshake is withheld in a cycle; jitter_latency: up to this
    many cycles more latency per burst; seed: of both.
    """

    base: int = 0x8_0000_0000
    size: int = 256 << 20
    bytes_per_cycle: int = 64
    sustained: float = 0.80
    bucket_bytes: int = 256
    burst_overhead: int = 8
    refresh_interval: int = 2340
    refresh_length: int = 105
    read_latency: int = 60
    write_latency: int = 20
    outstanding: int = 16
    max_burst_beats: int = 256
    jitter: float = 0.0
    jitter_latency: int = 0
    seed: int = 1

    def __post_init__(self) -> None:
        def need(ok: bool, rule: str) -> None:
            if not ok:
                raise SimulationError(f"DRAM configuration: {rule}")

        need(self.base >= 0 and self.base % 4096 == 0, "base must be a multiple of 4096")
        need(self.size > 0 and self.size % 4096 == 0, "size must be a positive multiple of 4096")
        need(self.bytes_per_cycle >= BEAT_BYTES, f"bytes_per_cycle must be at least {BEAT_BYTES}")
        need(0 < self.sustained <= 1, "sustained must be in (0, 1]")
        need(self.burst_overhead >= 0, "burst_overhead must not be negative")
        need(
            self.bucket_bytes >= max(self.bytes_per_cycle, BEAT_BYTES + self.burst_overhead),
            "bucket_bytes must hold one cycle at peak and the first beat of a burst",
        )
        need(
            0 <= self.refresh_length < max(self.refresh_interval, 1),
            "refresh_length must be below refresh_interval",
        )
        need(self.read_latency >= 2 and self.write_latency >= 2, "latencies must be at least 2")
        need(self.outstanding >= 1, "outstanding must be at least 1")
        need(1 <= self.max_burst_beats <= 256, "max_burst_beats must be 1 to 256")
        need(0 <= self.jitter <= 0.9, "jitter must be in [0, 0.9]")
        need(self.jitter_latency >= 0, "jitter_latency must not be negative")

    @property
    def rate_q10(self) -> int:
        """Token rate in 1/1024 bytes per cycle, rounded down."""
        return int(self.sustained * self.bytes_per_cycle * 1024)

    def sustained_bytes_per_cycle(self, burst_beats: int, ports: int) -> float:
        """Bytes per cycle that `ports` busy ports move in bursts of `burst_beats`, long run.

        Jitter and latency apart: enough bursts have to be outstanding.
        """
        rate = self.rate_q10 / 1024
        idle = self.refresh_length / self.refresh_interval if self.refresh_interval else 0.0
        tokens = rate * (1 - idle)
        if self.refresh_interval:
            tokens += min(self.bucket_bytes, rate * self.refresh_length) / self.refresh_interval
        data = burst_beats * BEAT_BYTES
        peak = min(self.bytes_per_cycle // BEAT_BYTES, ports) * BEAT_BYTES
        return min(tokens * data / (data + self.burst_overhead), peak * (1 - idle))


DEFAULT = DramConfig()


@dataclass(frozen=True)
class PortStats:
    """What the DRAM model saw on one AXI port since the device was created.

    Beats are 16 bytes. Latency is AR handshake to first R handshake in cycles, 0 without a burst.
    Addresses enclose all bursts; equal without a burst. error_responses: read beats and write
    bursts answered with an error.
    """

    read_beats: int
    write_beats: int
    read_bursts: int
    write_bursts: int
    min_read_latency: int
    max_read_latency: int
    lowest_address: int
    end_address: int
    error_responses: int
