"""The AXI4-Lite slave with the registers."""

from __future__ import annotations

from amaranth.hdl import Cat, Signal

from formal.bench import Bench
from formal.mutation import Mutation
from formal.proof import Proof
from fpga_gen.hardware.shell import csr
from fpga_gen_host.registers import REGISTERS

WRITE_CYCLES, READ_CYCLES = 2, 3  # from the address, and for a write the data, to the answer
FIELDS = [(r, f) for r in REGISTERS for f in r.fields]


def writes() -> Bench:
    """Any master; what is written to every register."""
    dut = csr.CsrBlock()
    b = Bench(dut)
    m = b.m
    b.assume(dut.resets == 0)
    b.stable(dut.s_axi_bvalid, dut.s_axi_bready, what="B")
    b.prove(dut.s_axi_bresp == 0, "an error response")
    took_address = dut.s_axi_awvalid & dut.s_axi_awready
    took_data = dut.s_axi_wvalid & dut.s_axi_wready
    answered = dut.s_axi_bvalid & dut.s_axi_bready
    have_address, have_data = b.signal("have_address"), b.signal("have_data")
    # AXI4-Lite (A3.3.1): an answer only after address and data, and one for each.
    addresses, data, answers = (Signal(4, name=n) for n in ("addresses", "data", "answers"))
    m.d.sync += [
        addresses.eq(addresses + took_address),
        data.eq(data + took_data),
        answers.eq(answers + answered),
    ]
    held = dut.s_axi_bvalid
    b.prove((addresses - answers)[:4] == have_address + held, "an answer without an address")
    b.prove((data - answers)[:4] == have_data + held, "an answer without data")
    # It comes: address and data are held for one cycle unless an answer waits.
    both = b.past(have_address & have_data & ~dut.s_axi_bvalid, "both")
    b.prove(~both | dut.s_axi_bvalid, "a write is not answered")
    awake = b.past(dut.awake, "awake")
    b.prove(~awake | dut.awake, "falls asleep")
    b.prove(~dut.awake | have_address | dut.s_axi_awready, "a free slave takes no address")
    b.prove(~dut.awake | have_data | dut.s_axi_wready, "a free slave takes no data")

    # What is written: strobed bytes of the register at the address, and nothing else.
    offset = Signal(10)
    strobe, word = Signal(4), Signal(32)
    with m.If(took_address):
        m.d.sync += offset.eq(dut.s_axi_awaddr[2:])
    with m.If(took_data):
        m.d.sync += [strobe.eq(dut.s_axi_wstrb), word.eq(dut.s_axi_wdata)]
    b.prove(~have_address | (offset == b.signal("write_offset")), "another address")
    commit = b.signal("commit")
    mask = Cat(bit.replicate(8) for bit in strobe)
    late = b.past(commit, "commit")
    place, bits, value = b.past(offset, "place"), b.past(mask, "bits"), b.past(word, "word")
    b.prove(
        ~have_data | ((strobe == b.signal("strobe")) & (word == b.signal("word"))), "other data"
    )
    b.prove(
        ~late | ((bits == Cat(s.replicate(8) for s in b.signal("strobe")))
                 & (value == b.signal("word"))),
        "other data",
    )  # fmt: skip
    for register in (r for r in REGISTERS if r.access != "ro"):
        hit = b.signal(f"write_{register.name.lower()}")
        b.prove(
            hit == (late & (place == register.offset // 4)), f"{register.name}: another address"
        )
        for field in register.fields:
            port = register.port(field)
            part = slice(field.lsb, field.lsb + field.bits)
            before_hit = b.past(hit, f"{port}_hit")
            before_bits, before_value = b.past(bits[part], port), b.past(value[part], port)
            if field.access == "rw":
                now = getattr(dut, port)
                before = b.past(now, f"{port}_value")
                written = (before & ~before_bits) | (before_value & before_bits)
                b.prove(b.first | before_hit | (now == before), f"{port} changes by itself")
                b.prove(~before_hit | (now == written), f"{port} is not what was written")
            elif field.access in ("pulse", "w1c"):
                pulse = getattr(dut, port + ("_clear" if field.access == "w1c" else ""))
                b.prove(~pulse.any() | before_hit, f"{port}: a pulse without a write")
                b.prove(
                    ~before_hit | (pulse == (before_value & before_bits)), f"{port}: another pulse"
                )
    b.cover(dut.watchdog == 0x1234, "WATCHDOG is written")
    b.cover(dut.control_start, "a start")
    return b


def reads() -> Bench:
    """Any master that reads; the registers stand still."""
    dut = csr.CsrBlock()
    b = Bench(dut)
    m = b.m
    b.assume(dut.resets == 0)
    b.assume(~dut.s_axi_awvalid & ~dut.s_axi_wvalid)
    for register, field in FIELDS:
        if field.access in ("ro", "w1c"):
            b.hold(getattr(dut, register.port(field)))
    nothing = ~b.signal("have_address") & ~b.signal("have_data")
    for register in (r for r in REGISTERS if r.access != "ro"):
        nothing &= ~b.signal(f"write_{register.name.lower()}")
    b.prove(nothing, "a write that nobody asked for")
    b.stable(dut.s_axi_rvalid, dut.s_axi_rready, dut.s_axi_rdata, what="R")
    b.prove(dut.s_axi_rresp == 0, "an error response")
    took = dut.s_axi_arvalid & dut.s_axi_arready
    waiting, selected = b.signal("waiting"), b.signal("selected")
    finished = dut.s_axi_rvalid & dut.s_axi_rready
    offset, age = Signal(10), Signal(3)
    with m.If(took):
        m.d.sync += [offset.eq(dut.s_axi_araddr[2:]), age.eq(0)]
    with m.Elif(waiting):
        m.d.sync += age.eq(age + (age != 7))
    asked = Signal(4)
    m.d.sync += asked.eq(asked + took - finished)
    b.prove(asked == waiting, "an answer without an address")
    b.prove(~dut.s_axi_rvalid | waiting, "an answer without an address")
    # After the address: rows, choice, answer.
    b.prove(~waiting | (age != 0) | (~selected & ~dut.s_axi_rvalid), "answered too soon")
    b.prove(~waiting | (age != 1) | (selected & ~dut.s_axi_rvalid), "answered too soon")
    b.prove(~waiting | (age < READ_CYCLES - 1) | (dut.s_axi_rvalid & ~selected), "no answer")
    value = Signal(32)
    with m.Switch(offset):
        for register in REGISTERS:
            with m.Case(register.offset // 4):
                for field in register.fields:
                    if field.access != "pulse":
                        port = getattr(dut, register.port(field))
                        m.d.comb += value[field.lsb : field.lsb + field.bits].eq(port)
    for n in range(2):
        b.prove(~waiting | (b.signal(f"read_row_{n}") == offset[4:]), "another row")
    for index in sorted({r.offset // 64 for r in REGISTERS}):
        for part in range(0, 32, csr.READ_PART):
            low = b.signal(f"read_offset_{index}_{part}")
            b.prove(~waiting | (low == offset[:4]), "another place")
        row = b.signal(f"row{index}")
        b.prove(
            ~waiting | (age == 0) | (offset[4:] != index) | (row == value), "another row's value"
        )
    b.prove(~dut.s_axi_rvalid | (dut.s_axi_rdata == value), "a register reads as something else")
    b.cover(dut.s_axi_rvalid & (dut.s_axi_rdata == 0x1234), "a value is read")
    return b


PROOFS = (
    Proof(
        "csr_write",
        "CsrBlock: AXI4-Lite slave, writes",
        "B handshake, one OKAY answer for each address and data, after both, in the next cycle; "
        "every register holds what was written to its address by strobed bytes, and changes by "
        "nothing else",
        writes,
        depth=2,
        cover_depth=8,
        mutations=(
            Mutation("shell.csr", "commit.eq(have_address & have_data & ~self.s_axi_bvalid)",
                     "commit.eq(have_address & ~self.s_axi_bvalid)"),
            Mutation("shell.csr", "with m.If(hit & enable):", "with m.If(hit):"),
            Mutation("shell.csr", "with m.Elif(self.s_axi_bready):", "with m.Else():"),
        ),
    ),
    Proof(
        "csr_read",
        "CsrBlock: AXI4-Lite slave, reads",
        "R handshake, one OKAY answer for each address, three cycles after it, with the value of "
        "the register at that address, 0 where there is none",
        reads,
        depth=2,
        cover_depth=8,
        mutations=(
            Mutation("shell.csr", "with m.If(self.s_axi_arvalid & self.s_axi_arready):",
                     "with m.If(self.s_axi_arvalid):"),
            Mutation("shell.csr", "selected.eq(waiting & ~selected & ~self.s_axi_rvalid)",
                     "selected.eq(waiting & ~selected)"),
            Mutation("shell.csr", "row[bits].eq(0)", "row[bits].eq(row[bits])"),
        ),
    ),
)  # fmt: skip
