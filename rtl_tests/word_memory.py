"""A model of the feature-map memory for tests of the units that read or write it."""

from __future__ import annotations

from collections import deque

import numpy as np

from fpga_gen.contract.address import ADDRESS_BITS, pack_address, unpack_address
from fpga_gen.contract.isa import LAYOUTS, Op
from fpga_gen.contract.params import EngineParams


def header(op: Op, **fields: int) -> int:
    """Header of an instruction as the units see it."""
    words = LAYOUTS[op].encode({"op": int(op), **fields})
    return sum(word << 64 * k for k, word in enumerate(words))


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

    def reader(self, unit, latency: int):
        """Testbench: answers unit.read_address with unit.read_data (as many words as it has),
        `latency` cycles later."""
        words = len(unit.read_data) // self.params.word_bits

        async def serve(ctx) -> None:
            on_the_way: deque[int] = deque([0] * (latency - 1))
            while True:
                *_, valid, code = await ctx.tick().sample(unit.read_valid, unit.read_address)
                noise = int.from_bytes(self.rng.bytes(words * self.params.in_channels), "little")
                on_the_way.append(self.read(code, words) if valid else noise)
                ctx.set(unit.read_data, on_the_way.popleft())

        return serve

    def writer(self, unit):
        """Testbench: carries out the write steps of unit.write_*; no step may meet a bank twice."""
        p = self.params

        async def serve(ctx) -> None:
            while True:
                *_, valid, address, data, enables = await ctx.tick().sample(
                    unit.write_valid, unit.write_address, unit.write_data, unit.write_bytes
                )
                banks = set()
                for slot in range(unit.slots):
                    if not valid >> slot & 1:
                        continue
                    code = address >> slot * ADDRESS_BITS & ((1 << ADDRESS_BITS) - 1)
                    at = self.linear(code)
                    assert at % p.banks not in banks, "two writes of one step to a bank"
                    banks.add(at % p.banks)
                    word = (data >> slot * p.word_bits) & ((1 << p.word_bits) - 1)
                    new = np.frombuffer(word.to_bytes(p.in_channels, "little"), np.int8)
                    mask = enables >> slot * p.in_channels
                    chosen = [bool(mask >> k & 1) for k in range(p.in_channels)]
                    self.data[at, chosen] = new[chosen]
                    self.writes += 1

        return serve
