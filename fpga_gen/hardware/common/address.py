"""Mixed-radix arithmetic on (row, bank) addresses of the feature-map memory.

linear = row * banks + bank. Keeping the pair instead of the linear value spares every divider:
adding two addresses is one short carry from bank to row.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from fpga_gen.contract.address import ADDRESS_BITS, BANK_BITS, ROW_BITS


def bank_of(address: Value) -> Value:
    return address[:BANK_BITS]


def row_of(address: Value) -> Value:
    return address[BANK_BITS:ADDRESS_BITS]


def add(m: Module, a: Value, b: Value, banks: int, name: str) -> Signal:
    """a + b as an address (combinational, five levels). Rows wrap modulo 2^14.

    Both row sums are there when the bank tells which one it is."""
    bank = Signal(BANK_BITS + 1, name=f"{name}_bank")
    wrap = Signal(name=f"{name}_wrap")
    total = Signal(ADDRESS_BITS, name=name)
    row, following = Signal(ROW_BITS, name=f"{name}_row"), Signal(ROW_BITS, name=f"{name}_next")
    m.d.comb += [
        bank.eq(bank_of(a) + bank_of(b)),
        wrap.eq(bank >= banks),
        row.eq(row_of(a) + row_of(b)),
        following.eq(row_of(a) + row_of(b) + 1),
        bank_of(total).eq(bank - _banks_if(wrap, banks)),
        row_of(total).eq(Mux(wrap, following, row)),
    ]
    return total


def _banks_if(wrap: Value, banks: int) -> Value:
    """`banks` when wrap else 0, as AND gates."""
    return Cat(*(wrap if banks >> i & 1 else Const(0, 1) for i in range(BANK_BITS)))


def constant(linear: int, banks: int) -> Const:
    """Address code of a non-negative constant offset."""
    row, bank = divmod(linear, banks)
    return Const(bank | row << BANK_BITS, BANK_BITS + ROW_BITS)


def delay(m: Module, value: Value, cycles: int, name: str, *, reset_less: bool = True) -> Value:
    """`value` some cycles later (a chain of registers that maps to SRLs)."""
    for index in range(cycles):
        stage = Signal(len(value), name=f"{name}_d{index + 1}", reset_less=reset_less)
        m.d.sync += stage.eq(value)
        value = stage
    return value


def delay_line(m: Module, name: str, value: Value, cycles: int) -> list[Value]:
    """[value, one cycle late, ...], cycles + 1 entries."""
    out = [value]
    for n in range(1, cycles + 1):
        late = Signal(len(value), name=f"{name}_{n}", reset_less=True)
        m.d.sync += late.eq(out[-1])
        out.append(late)
    return out
