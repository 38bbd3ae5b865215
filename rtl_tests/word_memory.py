"""A model of the feature-map memory for tests of the units that read or write it."""

from __future__ import annotations

from collections import deque

import numpy as np
from amaranth.lib import data

from fpga_gen.contract.address import pack_address, unpack_address
from fpga_gen.contract.isa import LAYOUTS, Op
from fpga_gen.contract.latencies import READ_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.records import HEADER


def header(op: Op, **fields: int) -> data.Const:
    """Header of an instruction as the units see it."""
    words = LAYOUTS[op].encode({"op": int(op), **fields})
    return HEADER.from_bits(sum(word << 64 * k for k, word in enumerate(words)))


class WordMemory:
    """`words` memory words of noise, `data`: int8 (words, CI).

    Any access outside of them is an AssertionError.
    """

    def __init__(self, params: EngineParams, words: int, seed: int) -> None:
        self.params = params
        self.rng = np.random.default_rng(seed)
        self.data = self.rng.integers(-128, 128, (words, params.in_channels)).astype(np.int8)
        self.writes = 0

    def code(self, linear: int) -> int:
        return pack_address(int(linear), self.params.banks)

    def linear(self, code: int) -> int:
        address = unpack_address(code, self.params.banks)
        assert 0 <= address < len(self.data), f"address {address} is outside"
        return address

    def read(self, code: int, words: int = 1) -> int:
        """`words` neighbouring words, noise beyond the end."""
        at = self.linear(code)
        data = self.data[at : at + words].tobytes()
        missing = words * self.params.in_channels - len(data)
        return int.from_bytes(data + self.rng.bytes(missing), "little")

    def reader(self, read):
        """Testbench: answers a unit's MemoryRead."""
        words = len(read.data) // self.params.word_bits

        async def serve(ctx) -> None:
            on_the_way: deque[int] = deque([0] * (READ_LATENCY - 1))
            while True:
                *_, valid, code = await ctx.tick().sample(read.valid, read.address)
                noise = int.from_bytes(self.rng.bytes(words * self.params.in_channels), "little")
                on_the_way.append(self.read(code, words) if valid else noise)
                ctx.set(read.data, on_the_way.popleft())

        return serve

    def writer(self, write):
        """Testbench: carries out a WriteStep in every cycle; no step may meet a bank twice, and
        with two exit pixels `odd` tells the banks of each."""
        p = self.params
        pairs = p.exit_pixels == 2

        async def serve(ctx) -> None:
            while True:
                *_, valid, address, data, enables, odd = await ctx.tick().sample(
                    write.valid, write.address, write.data, write.bytes,
                    write.odd if pairs else write.valid,
                )  # fmt: skip
                assert not pairs or odd in (0, (1 << len(write.odd)) - 1)
                banks = set()
                for slot in range(p.write_slots):
                    if not valid >> slot & 1:
                        continue
                    at = self.linear(address[slot])
                    assert at % p.banks not in banks, "two writes of one step to a bank"
                    banks.add(at % p.banks)
                    if pairs:
                        assert at % 2 == (odd & 1) ^ (slot >= p.row_slots)
                    new = np.frombuffer(data[slot].to_bytes(p.in_channels, "little"), np.int8)
                    chosen = [bool(enables[slot] >> k & 1) for k in range(p.in_channels)]
                    self.data[at, chosen] = new[chosen]
                    self.writes += 1

        return serve
