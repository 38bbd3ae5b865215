"""AXI4-Lite slave generated from the register table."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.common.resets import clear
from fpga_gen.hardware.shell.axi_names import LITE, prefixed
from fpga_gen_host.registers import ADDRESS_BITS, REGISTERS

_ROW = 16  # registers read by the first multiplexer stage
_OFFSET_BITS = ADDRESS_BITS - 2
READ_PART = 8  # bits of a row with one copy of the read offset
RESET_BITS = 48  # register bits with one copy of the reset


class CsrBlock(wiring.Component):
    """Decodes AXI4-Lite accesses into the fields of registers.REGISTERS.

    One write and one read at a time; address and data of a write may come in any order; byte
    strobes are honoured. A read is answered 3 cycles after its address. Unmapped addresses read 0
    and ignore writes, both answered OKAY: an error response would be a bus fault in the
    processor of a Zynq.

    Members: s_axi_*: the slave; per field a port named by Register.port: ro: In, its value;
    rw: Out, its value; pulse: Out, 1 for one cycle; w1c: In, its value (the owner keeps it), and
    <port>_clear: Out, 1 for one cycle when software clears it. resets: In, copies of the reset; no
    access is accepted before it is over.
    """

    def __init__(self) -> None:
        members = prefixed("s_axi", LITE)
        for register in REGISTERS:
            for field in register.fields:
                name = register.port(field)
                if field.access in ("ro", "w1c"):
                    members[name] = In(field.bits)
                else:
                    members[name] = Out(field.bits, init=field.reset)
                if field.access == "w1c":
                    members[f"{name}_clear"] = Out(1)
        bits = sum(f.bits for r in REGISTERS for f in r.fields if f.access == "rw")
        members["resets"] = In(1 + -(-bits // RESET_BITS))
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        self.awake = Signal()  # out of reset
        m.d.sync += self.awake.eq(1)
        self.flags = [self.awake, self.s_axi_bvalid, self.s_axi_rvalid]
        self._write_side(m)
        self._read_side(m)
        self._reset(m)
        return m

    def _reset(self, m: Module) -> None:
        """The first copy for the accesses, the others for the registers."""
        clear(m, self.resets[0], self.flags)
        kept = Cat(
            getattr(self, register.port(field))
            for register in REGISTERS
            for field in register.fields
            if field.access == "rw"
        )
        initial = Cat(
            Const(field.reset, field.bits)
            for register in REGISTERS
            for field in register.fields
            if field.access == "rw"
        )
        for at, reset in zip(range(0, len(kept), RESET_BITS), self.resets[1:], strict=True):
            part = slice(at, at + RESET_BITS)
            with m.If(reset):
                m.d.sync += kept[part].eq(initial[part])

    def _write_side(self, m: Module) -> None:
        have_address, have_data = Signal(name="have_address"), Signal(name="have_data")
        commit = Signal()
        self.flags += [have_address, have_data]
        offset = Signal(_OFFSET_BITS, name="write_offset", reset_less=True)
        strobe = Signal(4, reset_less=True)
        word = Signal(32, reset_less=True)
        mask = Cat(bit.replicate(8) for bit in strobe)
        m.d.comb += [
            self.s_axi_awready.eq(self.awake & ~have_address),
            self.s_axi_wready.eq(self.awake & ~have_data),
            self.s_axi_bresp.eq(0),
            commit.eq(have_address & have_data & ~self.s_axi_bvalid),
        ]
        with m.If(commit):
            m.d.sync += have_address.eq(0)
        with m.Elif(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += have_address.eq(1)
            m.d.sync += offset.eq(self.s_axi_awaddr[2:])
        with m.If(commit):
            m.d.sync += have_data.eq(0)
        with m.Elif(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [have_data.eq(1), word.eq(self.s_axi_wdata), strobe.eq(self.s_axi_wstrb)]
        with m.If(commit):
            m.d.sync += self.s_axi_bvalid.eq(1)
        with m.Elif(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)

        for register in (r for r in REGISTERS if r.access != "ro"):
            # One cycle late; until then nothing can replace the word.
            hit = Signal(name=f"write_{register.name.lower()}")
            m.d.sync += hit.eq(commit & (offset == register.offset // 4))
            for field in register.fields:
                port = register.port(field)
                bits = slice(field.lsb, field.lsb + field.bits)
                if field.access == "rw":
                    for lane, enable in enumerate(strobe):
                        low, high = max(8 * lane, bits.start), min(8 * lane + 8, bits.stop)
                        if low < high:
                            with m.If(hit & enable):
                                part = slice(low - field.lsb, high - field.lsb)
                                m.d.sync += getattr(self, port)[part].eq(word[low:high])
                elif field.access != "ro":
                    suffix = "_clear" if field.access == "w1c" else ""
                    m.d.sync += getattr(self, port + suffix).eq(
                        Mux(hit, word[bits] & mask[bits], 0)
                    )

    def _read_side(self, m: Module) -> None:
        waiting, selected = Signal(name="waiting"), Signal(name="selected")
        self.flags += [waiting, selected]
        # Copies of the offset's low part, each for some bits of one row, and of its high part, each
        # for half of the value.
        low_bits = (_ROW - 1).bit_length()
        highs = [
            Signal(_OFFSET_BITS - low_bits, name=f"read_row_{n}", reset_less=True, attrs=KEEP)
            for n in range(2)
        ]
        lows = {
            (index, part): Signal(
                low_bits, name=f"read_offset_{index}_{part}", reset_less=True, attrs=KEEP
            )
            for index in sorted({r.offset // 4 // _ROW for r in REGISTERS})
            for part in range(0, 32, READ_PART)
        }
        m.d.comb += [self.s_axi_arready.eq(self.awake & ~waiting), self.s_axi_rresp.eq(0)]
        finished = Signal()
        m.d.comb += finished.eq(self.s_axi_rvalid & self.s_axi_rready)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += waiting.eq(1)
            m.d.sync += [high.eq(self.s_axi_araddr[2:][low_bits:]) for high in highs]
            m.d.sync += [low.eq(self.s_axi_araddr[2:][:low_bits]) for low in lows.values()]
        with m.Elif(finished):
            m.d.sync += waiting.eq(0)

        # Two registered multiplexer stages: within rows of 16 registers, then between rows.
        rows: dict[int, Signal] = {}
        for (index, part), low in lows.items():
            row = rows.setdefault(index, Signal(32, name=f"row{index}", reset_less=True))
            bits = slice(part, part + READ_PART)
            with m.Switch(low):
                for register in REGISTERS:
                    at, position = divmod(register.offset // 4, _ROW)
                    if at == index:
                        with m.Case(position):
                            m.d.sync += row[bits].eq(self._read_value(register)[bits])
                with m.Default():
                    m.d.sync += row[bits].eq(0)
        value = Signal(32, reset_less=True)
        m.d.comb += self.s_axi_rdata.eq(value)
        m.d.sync += selected.eq(waiting & ~selected & ~self.s_axi_rvalid)
        with m.If(selected):
            m.d.sync += self.s_axi_rvalid.eq(1)
            for n, high in enumerate(highs):
                half = slice(16 * n, 16 * n + 16)
                with m.Switch(high):
                    for index, row in rows.items():
                        with m.Case(index):
                            m.d.sync += value[half].eq(row[half])
                    with m.Default():
                        m.d.sync += value[half].eq(0)
        with m.Elif(finished):
            m.d.sync += self.s_axi_rvalid.eq(0)

    def _read_value(self, register):
        """The 32 bits software reads."""
        parts, at = [], 0
        for field in sorted(register.fields, key=lambda f: f.lsb):
            if field.lsb > at:
                parts.append(Signal(field.lsb - at, name="gap"))
            source = getattr(self, register.port(field))
            parts.append(Signal(field.bits, name="zero") if field.access == "pulse" else source)
            at = field.lsb + field.bits
        return Cat(*parts)
