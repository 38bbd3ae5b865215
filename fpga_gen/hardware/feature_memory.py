"""Feature-map memory: `banks` independent banks of CI-channel words.

Read: one address a cycle returns `lanes` consecutive words (or every second one), whatever bank
they start in, after `read_latency` cycles. Bank b holds linear addresses = b mod banks, so
consecutive words never collide; a rotation puts the first word on lane 0.
Write: up to `write_slots` words a cycle, in different banks (the compiler's plane skew guarantees
it), with byte enables. Throughput one read and one write step per cycle, no flow control.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.address import bank_of, delay, row_of
from fpga_gen.hardware.params import EngineParams
from fpga_gen.hardware.ram import RamShape, place_ram
from fpga_gen.isa import ADDRESS_BITS

BANK_MODULE = "fpga_gen_bank"


def bank_shape(params: EngineParams) -> RamShape:
    """One bank: CI-byte rows, byte enables, two-cycle read (array and output register)."""
    return RamShape(params.word_bits, params.bank_rows, params.bank_style, params.in_channels, True)


def emit_bank(params: EngineParams) -> dict[str, str]:
    """Verilog of the one bank module that all banks instantiate."""
    return {BANK_MODULE: bank_shape(params).verilog(BANK_MODULE)}


class FeatureMemory(wiring.Component):
    """The banked memory with lane rotation and write steering (see module docstring).

    Members: r_address (row, bank), r_double (stride 2: lane l reads word 2 l; lanes < P only),
    r_data (lanes x word); w_valid (one bit per slot), w_address, w_data, w_bytes per slot.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        self.bank = bank_shape(params)
        self.write_slots = write_slots(params)
        n, w = self.write_slots, params.word_bits
        super().__init__(
            {
                "r_address": In(ADDRESS_BITS),
                "r_double": In(1),
                "r_data": Out(params.lanes * w),
                "w_valid": In(n),
                "w_address": In(n * ADDRESS_BITS),
                "w_data": In(n * w),
                "w_bytes": In(n * w // 8),
            }
        )

    @property
    def read_latency(self) -> int:
        """Cycles from r_address to r_data."""
        return 1 + self.bank.read_latency + 2

    @property
    def write_latency(self) -> int:
        """Cycles from w_valid to the word being readable."""
        return 3

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        banks = [
            place_ram(m, f"bank_{index}", self.bank, expand=self.expand, name=BANK_MODULE)
            for index in range(p.banks)
        ]
        self._read(m, banks)
        self._write(m, banks)
        return m

    def _read(self, m: Module, banks: list) -> None:
        p, w = self.params, self.params.word_bits
        row_bits = self.bank.address_bits
        start = bank_of(self.r_address)
        row = Signal(row_bits)
        following = Signal(row_bits)
        m.d.comb += [row.eq(row_of(self.r_address)), following.eq(row + 1)]
        for index, bank in enumerate(banks):
            selected = Signal(row_bits, name=f"row_{index}", reset_less=True)
            m.d.sync += selected.eq(Mux(start > index, following, row))
            m.d.comb += bank.r_addr.eq(selected)
        # Rotate right by `start` words: coarse stages, a register, fine stages, a register.
        steps = (p.banks - 1).bit_length()
        control = delay(m, Cat(start[: max(steps, 1)], self.r_double), 3, "rotate")
        control_fine = delay(m, control, 1, "rotate_fine")
        words = Signal(p.banks * w)
        m.d.comb += words.eq(Cat(*(b.r_data for b in banks)))
        coarse_steps = [k for k in range(steps) if k >= steps // 2]
        fine_steps = [k for k in range(steps) if k < steps // 2]
        value = self._rotate(m, words, control, coarse_steps, "coarse")
        middle = Signal(p.banks * w, reset_less=True)
        m.d.sync += middle.eq(value)
        value = self._rotate(m, middle, control_fine, fine_steps, "fine")
        doubled = Cat(
            *(
                value[2 * i * w : (2 * i + 1) * w]
                if i < p.pixels and 2 * i < p.banks
                else value[i * w : (i + 1) * w]
                for i in range(p.lanes)
            )
        )
        out = Signal(p.lanes * w, reset_less=True)
        m.d.sync += out.eq(Mux(control_fine[-1], doubled, value[: p.lanes * w]))
        m.d.comb += self.r_data.eq(out)

    def _rotate(self, m: Module, value, control, steps: list[int], name: str):
        w, total = self.params.word_bits, self.params.banks * self.params.word_bits
        for k in steps:
            amount = (1 << k) * w % total
            stage = Signal(total, name=f"{name}_{k}")
            m.d.comb += stage.eq(Mux(control[k], Cat(value[amount:], value[:amount]), value))
            value = stage
        return value

    def _write(self, m: Module, banks: list) -> None:
        n, w = self.write_slots, self.params.word_bits
        row_bits = self.bank.address_bits
        data = Signal(n * w, reset_less=True)
        bytes_ = Signal(n * w // 8, reset_less=True)
        rows = Signal(n * row_bits, reset_less=True)
        address = [self.w_address.word_select(k, ADDRESS_BITS) for k in range(n)]
        m.d.sync += [
            data.eq(self.w_data),
            bytes_.eq(self.w_bytes),
            rows.eq(Cat(*(row_of(a)[:row_bits] for a in address))),
        ]
        for index, bank in enumerate(banks):
            hit = Signal(n, name=f"hit_{index}")
            for k in range(n):
                m.d.sync += hit[k].eq(self.w_valid[k] & (bank_of(address[k]) == index))
            w_row = Signal(row_bits, name=f"w_row_{index}", reset_less=True)
            w_data = Signal(w, name=f"w_data_{index}", reset_less=True)
            w_bytes = Signal(w // 8, name=f"w_bytes_{index}")
            m.d.sync += [
                w_row.eq(_one_hot(hit, rows, row_bits, n)),
                w_data.eq(_one_hot(hit, data, w, n)),
                w_bytes.eq(_one_hot(hit, bytes_, w // 8, n)),
            ]
            m.d.comb += [bank.w_addr.eq(w_row), bank.w_data.eq(w_data), bank.w_en.eq(w_bytes)]


def _one_hot(hit, value, width: int, count: int):
    """OR of the fields whose hit bit is set."""
    total = Const(0, width)
    for k in range(count):
        total = total | Mux(hit[k], value[k * width : (k + 1) * width], Const(0, width))
    return total


def write_slots(params: EngineParams) -> int:
    """Words one exit step can write: all pixels of a mode times the words each may touch."""
    return max([m * params.write_words(m) for m in params.modes] + [params.load_words])
