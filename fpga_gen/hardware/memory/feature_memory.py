"""Feature-map memory: `banks` independent banks of CI-channel words.

Read: one address a cycle returns `lanes` consecutive words (or every second one), whatever bank
they start in, after `read_latency` cycles. Bank b holds linear addresses = b mod banks, so
consecutive words never collide; a rotation puts the first word on lane 0.
Write: up to `write_slots` words a cycle, in different banks (the compiler's plane skew guarantees
it), with byte enables; with two exit pixels those of one in banks of even numbers, those of the
other in the others, so that a bank chooses among half of them. Throughput one read and one write
step per cycle, no flow control.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.address import ADDRESS_BITS
from fpga_gen.contract.latencies import READ_LATENCY, WRITE_LATENCY
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import bank_of, row_of
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for, tree
from fpga_gen.hardware.common.joints import Beat, MemoryRead, WriteStep, odd_copies
from fpga_gen.hardware.common.leaf import fields
from fpga_gen.hardware.common.ram import RamShape, place_ram
from fpga_gen.hardware.common.records import PlainArray


def bank_shape(params: EngineParams, index: int = 0) -> RamShape:
    """Bank `index`: CI-byte rows, byte enables, two-cycle read (array and output register)."""
    ultra = params.family == "xcup" and index < params.banks - params.bram_banks
    style = "ultra" if ultra else "block"
    return RamShape(params.word_bits, params.bank_rows, style, params.in_channels, True, True)


def bank_module(params: EngineParams, index: int) -> str:
    """Name of the module of bank `index`."""
    plain = bank_shape(params, index) == bank_shape(params)
    return modules.BANK if plain else f"{modules.BANK}_block"


def emit_bank(params: EngineParams) -> dict[str, str]:
    """Verilog of the bank modules that all banks instantiate."""
    out = {}
    for index in range(params.banks):
        name = bank_module(params, index)
        out[name] = bank_shape(params, index).verilog(name)
    return out


class FeatureMemory(wiring.Component):
    """The banked memory with lane rotation and write steering (see module docstring).

    Three units read, one in a cycle: the vector unit, else the walker's beat, else the store unit.
    Each sees the words of all. In a `double` beat lane l is word 2 l, lanes < P only.

    Members:
        beat, vector, store: the readers. free: Out, this cycle is the store unit's.
        lanes: Out(lanes x word), for the array.
        write: words to write.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        self.bank = bank_shape(params)
        assert (self.read_latency, self.write_latency) == (READ_LATENCY, WRITE_LATENCY)
        super().__init__(
            {
                "beat": In(Beat(params)),
                "vector": In(MemoryRead(params, params.vector_words)),
                "store": In(MemoryRead(params, params.store_words)),
                "free": Out(1),
                "lanes": Out(params.lanes * params.word_bits),
                "write": In(WriteStep(params)),
            }
        )

    @property
    def read_latency(self) -> int:
        """Cycles from an address to its words: address, row, bank, two steps of the rotation."""
        return 2 + self.bank.read_latency + 2

    @property
    def write_latency(self) -> int:
        """Cycles from a write step to its words being readable."""
        return 3

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        banks = [
            place_ram(m, f"bank_{index}", self.bank, expand=self.expand, name=bank_module(p, index))
            for index in range(p.banks)
        ]
        self._select(m)
        self._read(m, banks)
        self._write(m, banks)
        return m

    def _select(self, m: Module) -> None:
        """The reader of this cycle."""
        beat, vector, store = self.beat, self.vector, self.store
        self.address, self.double = Signal(ADDRESS_BITS), Signal()
        m.d.comb += [
            self.address.eq(
                Mux(vector.valid, vector.address, Mux(beat.valid, beat.address, store.address))
            ),
            self.double.eq(beat.valid & beat.double),
            self.free.eq(~beat.valid & ~vector.valid),
            vector.data.eq(self.lanes[: len(vector.data)]),
            store.data.eq(self.lanes[: len(store.data)]),
        ]

    def _read(self, m: Module, banks: list) -> None:
        row_bits, count = self.bank.address_bits, self.params.banks
        # For the rows of the banks, and for the rotation.
        parts = copies_for(row_bits * count)
        *starts, start = copies(m, bank_of(self.address, count), parts + 1, "start")
        double = Signal(reset_less=True)
        row = Signal(row_bits, reset_less=True)
        following = Signal(row_bits, reset_less=True)
        m.d.sync += [
            double.eq(self.double),
            row.eq(row_of(self.address)),
            following.eq(row_of(self.address) + 1),
        ]
        for index, bank in enumerate(banks):
            selected = Signal(row_bits, name=f"row_{index}", reset_less=True)
            wraps = starts[index % parts] > index if index < count - 1 else 0
            m.d.sync += selected.eq(Mux(wraps, following, row))
            m.d.comb += bank.r_addr.eq(selected)
        self._rotate(m, [bank.r_data for bank in banks], start, double)

    def _rotate(self, m: Module, words: list, start: Value, double: Value) -> None:
        """Lane i gets word i + start: by eights and twos, a register, by one and `double`, a
        register. A digit of up to four values and its multiplexer are one LUT6 per bit."""
        p, w, n = self.params, self.params.word_bits, self.params.banks
        per_lane = copies_for(w)

        def pieces(values: list, control: list[Signal], choose) -> list:
            """choose(lane, piece of lane, its control) for every lane, joined again."""
            cut = -(-w // per_lane)
            return [
                Cat(
                    choose(
                        lane, slice(at * cut, min((at + 1) * cut, w)), control[lane * per_lane + at]
                    )
                    for at in range(per_lane)
                )
                for lane in range(len(values))
            ]

        coarse = tree(m, start[1:], self._spread_counts(1), "rotate")
        fine = tree(m, Cat(start[0], double), self._spread_counts(2), "rotate_fine")
        by_eight = pieces(
            words,
            coarse,
            lambda lane, at, c: _choose(
                [words[(lane + 8 * k) % n][at] for k in range(-(-n // 8))], c[2:]
            ),
        )
        by_two = pieces(
            words,
            coarse,
            lambda lane, at, c: _choose(
                [by_eight[(lane + 2 * k) % n][at] for k in range(4)], c[:2]
            ),
        )
        middle = [Signal(w, name=f"middle_{lane}", reset_less=True) for lane in range(n)]
        m.d.sync += [register.eq(value) for register, value in zip(middle, by_two, strict=True)]
        out = Signal(p.lanes * w, reset_less=True)

        def last(lane: int, at: slice, c: Value) -> Value:
            plain = Mux(c[0], middle[(lane + 1) % n][at], middle[lane][at])
            if lane >= p.pixels or 2 * lane >= n:
                return plain
            twice = Mux(c[0], middle[(2 * lane + 1) % n][at], middle[2 * lane][at])
            return Mux(c[1], twice, plain)

        m.d.sync += out.eq(Cat(pieces(middle[: p.lanes], fine, last)))
        m.d.comb += self.lanes.eq(out)

    def _spread_counts(self, step: int) -> list[int]:
        """Levels of the tree that brings a control to every lane when its data get there."""
        lanes = self.params.banks * copies_for(self.params.word_bits)
        levels = 1 + self.bank.read_latency + step - 1
        return [1] * (levels - 2) + [-(-lanes // 8), lanes]

    def _write(self, m: Module, banks: list) -> None:
        p, row_bits = self.params, self.bank.address_bits
        n, w = p.row_slots, p.word_bits
        offered = [self._offered(m, parity) for parity in range(p.exit_pixels)]
        targets = [self._targets(parity) for parity in range(p.exit_pixels)]
        cut = LOADS // 2  # a choice of up to eight words loads a bit of its number twice
        for index, bank in enumerate(banks):
            data, bytes_, rows = offered[index % p.exit_pixels]
            hits = Signal(n, name=f"hits_{index}")
            m.d.comb += [
                hits[k].eq(valid & (target == index))
                for k, (valid, target) in enumerate(targets[index % p.exit_pixels])
            ]
            number = [
                Cat(hits[k] for k in range(n) if k >> bit & 1).any()
                for bit in range(max(1, (n - 1).bit_length()))
            ]
            # The first copies choose data, the last ones row and enables: among more than eight
            # words each takes more of them.
            chosen = copies(m, Cat(number), copies_for(w, cut) + 1 + (n > 8), f"chosen_{index}")
            enables = chosen[copies_for(w, cut)]
            hit = Signal(name=f"hit_{index}", reset_less=True)
            w_row = Signal(row_bits, name=f"w_row_{index}", reset_less=True)
            w_data = Signal(w, name=f"w_data_{index}", reset_less=True)
            w_bytes = Signal(w // 8, name=f"w_bytes_{index}", reset_less=True)
            parts = [slice(at, min(at + cut, w)) for at in range(0, w, cut)]
            m.d.sync += [
                hit.eq(hits.any()),
                w_row.eq(_choose([rows[k] for k in range(n)], chosen[-1])),
                w_bytes.eq(_choose([bytes_[k] for k in range(n)], enables) & hit.replicate(w // 8)),
                w_data.eq(
                    Cat(
                        _choose([data[k][part] for k in range(n)], number)
                        for part, number in zip(parts, chosen, strict=False)
                    )
                ),
            ]
            m.d.comb += [bank.w_addr.eq(w_row), bank.w_data.eq(w_data), bank.w_en.eq(w_bytes)]

    def _offered(self, m: Module, parity: int) -> tuple[Signal, Signal, Signal]:
        """Data, byte enables and rows of the words among which a bank chooses, a cycle late. With
        two exit pixels: banks of even (0) or odd (1) numbers, whose words are those of the first
        pixel or those of the second."""
        p, row_bits = self.params, self.bank.address_bits
        n, w, step = p.row_slots, p.word_bits, self.write
        label = ("_even", "_odd")[parity] if p.exit_pixels == 2 else ""
        data = Signal(PlainArray(w, n), name=f"data{label}", reset_less=True)
        bytes_ = Signal(PlainArray(w // 8, n), name=f"bytes{label or '_'}", reset_less=True)
        rows = Signal(PlainArray(row_bits, n), name=f"rows{label}", reset_less=True)
        to = [row_of(address)[:row_bits] for address in step.address]
        if p.exit_pixels == 1:
            m.d.sync += [
                data.eq(step.data),
                bytes_.eq(step.bytes),
                *(rows[k].eq(to[k]) for k in range(n)),
            ]
            return data, bytes_, rows
        for k in range(n):
            *for_data, other, _ = self._odds(k)
            pieces = [fields(step.data[at], LOADS // 2) for at in (k, n + k)]
            words = [_mine(parity, *choice) for choice in zip(for_data, *pieces, strict=True)]
            m.d.sync += [
                data[k].eq(Cat(words)),
                bytes_[k].eq(_mine(parity, other, step.bytes[k], step.bytes[n + k])),
                rows[k].eq(_mine(parity, other, to[k], to[n + k])),
            ]
        return data, bytes_, rows

    def _targets(self, parity: int) -> list[tuple[Value, Value]]:
        """(valid, bank) of the same words, in time."""
        p, n, step = self.params, self.params.row_slots, self.write
        to = [(step.valid[k], bank_of(address, p.banks)) for k, address in enumerate(step.address)]
        if p.exit_pixels == 1:
            return to
        pairs = zip(to[:n], to[n:], strict=True)
        return [
            tuple(_mine(parity, self._odds(k)[-1], *both) for both in zip(*pair, strict=True))
            for k, pair in enumerate(pairs)
        ]

    def _odds(self, slot: int) -> Value:
        """The copies of `odd` for a slot of each exit pixel."""
        each = odd_copies(self.params)
        return self.write.odd[slot * each : (slot + 1) * each]


def _mine(parity: int, odd: Value, first: Value, second: Value) -> Value:
    """Of two exit pixels what is for banks of this parity, if the first one's are `odd`."""
    return Mux(odd, first, second) if parity else Mux(odd, second, first)


def _choose(values: list, number: Value) -> Value:
    """values[number], a tree of multiplexers; past the end the last one."""
    for bit in range(len(number)):
        values = [
            values[k] if k + 1 == len(values) else Mux(number[bit], values[k + 1], values[k])
            for k in range(0, len(values), 2)
        ]
    return values[0]
