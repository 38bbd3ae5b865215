"""Mixed-radix arithmetic on (row, bank) addresses of the feature-map memory.

linear = row * banks + bank. Keeping the pair instead of the linear value spares every divider:
adding two addresses is one short carry from bank to row.
"""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value

from fpga_gen.contract.address import ADDRESS_BITS, BANK_BITS, ROW_BITS


def bank_of(address: Value, banks: int) -> Value:
    """The bits that tell one of `banks` banks; those above them are 0."""
    return address[: (banks - 1).bit_length()]


def row_of(address: Value) -> Value:
    return address[BANK_BITS:ADDRESS_BITS]


def add(m: Module, a: Value, b: Value, banks: int, name: str) -> Signal:
    """a + b as an address (combinational, four levels). Rows wrap modulo 2^14.

    Both row sums are there when the bank tells which one it is. What follows from the sum of the
    banks is a table of it, a LUT for each bit: tools make carry chains of comparisons."""
    bits = (banks - 1).bit_length()
    bank = Signal(bits + 1, name=f"{name}_bank")
    wrap = Signal(name=f"{name}_wrap")
    total = Signal(ADDRESS_BITS, name=name)
    row, following = Signal(ROW_BITS, name=f"{name}_row"), Signal(ROW_BITS, name=f"{name}_next")
    wraps = [n >= banks for n in range(1 << len(bank))]
    inside = [(n - banks if n >= banks else n) % (1 << bits) for n in range(1 << len(bank))]
    m.d.comb += [
        bank.eq(bank_of(a, banks) + bank_of(b, banks)),
        wrap.eq(Array(Const(value, 1) for value in wraps)[bank]),
        row.eq(row_of(a) + row_of(b)),
        # With a carry into one chain: tools make two adders of three summands.
        following.eq((Cat(1, row_of(a)) + Cat(1, row_of(b)))[1:]),
        bank_of(total, banks).eq(Array(Const(value, bits) for value in inside)[bank]),
        row_of(total).eq(Mux(wrap, following, row)),
    ]
    return total


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
