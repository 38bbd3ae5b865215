"""Four int8 dot products on one DSP48E2 cascade that runs at twice the engine's clock.

Every slice holds two packed weight pairs, one on A and one on D. The pre-adder lets one of them
through (INMODE) and changes with every fast cycle, so the slice itself is the multiplexer; the
activation stays on B for both. Fields of 19 bits hold sixteen products of -128..127 by -127..127
and fill the 27-bit multiplier exactly, so one cascade adds all inputs and no adder is left to the
fabric. Everything that comes from the engine's clock has two fast cycles to arrive; behind the last
slice there are registers only (UG579, "DSP48E2"; docs/decisions/0014-double-clock-dsp.md).

Simulators take the twin in mac_double.py, which needs the engine's clock alone.
"""

from __future__ import annotations

from itertools import pairwise

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Instance, Module, Signal, Value

from fpga_gen.hardware.array.dsp48 import IDLE_ENABLES, P_BITS, RESETS, UNUSED, Z_C, Z_CASCADE
from fpga_gen.hardware.array.mac_double import FIELD, DoublePair, Phase, dots_of
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.common.leaf import emit_either, fields

FAST = "fast"  # clock domain: twice the frequency, every second edge with the engine's
SLICES_PER_COPY = 8  # slices on one copy of the phase
REGISTERS = {
    "AREG": 1, "ACASCREG": 1, "BCASCREG": 1, "CREG": 1, "DREG": 1, "ADREG": 1, "MREG": 1, "PREG": 1,
    "INMODEREG": 1, "OPMODEREG": 0, "ALUMODEREG": 0, "CARRYINREG": 0, "CARRYINSELREG": 0,
}  # fmt: skip
ALWAYS = ("CEAD", "CEC", "CEINMODE", "CEM", "CEP")


def _fast(m: Module, clock: Value) -> None:
    """The fast clock's domain: no register in it needs a reset."""
    m.domains += ClockDomain(FAST, local=True, reset_less=True)
    m.d.comb += ClockSignal(FAST).eq(clock)


class FastPhase(Phase):
    """`Phase` in its two clocks."""

    def elaborate(self, platform) -> Module:
        m = Module()
        _fast(m, self.fast_clk)
        cycle, seen = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += cycle.eq(~cycle)
        m.d[FAST] += [seen.eq(cycle), self.second.eq(cycle ^ seen)]
        return m


class DoubleCascade(DoublePair):
    """`DoublePair` out of primitives. DSP48E1 has the same slice with a 25-bit multiplier and is
    there for simulation against its open model, with 6-bit weights."""

    def __init__(self, in_channels: int, weight_bits: int = 8, primitive: str = "DSP48E2") -> None:
        super().__init__(in_channels, weight_bits)
        self.primitive = primitive
        self.operand_bits = {"DSP48E2": 27, "DSP48E1": 25}[primitive]
        assert self.packed_bits <= self.operand_bits

    def elaborate(self, platform) -> Module:
        m = Module()
        _fast(m, self.fast_clk)
        halves = [
            self._halves(m, n) for n in range(-(-self.in_channels // SLICES_PER_COPY))
        ]  # copies of (first half, second half)
        taps = self._taps(m, halves[0][1])
        packed = fields(self.weights, self.packed_bits)
        cascade: Value = Const(0, P_BITS)
        total = Signal(P_BITS)
        for i, act in enumerate(fields(self.act, 8)):
            total, following = Signal(P_BITS, name=f"p{i}"), Signal(P_BITS, name=f"c{i}")
            pair = (packed[i], packed[self.in_channels + i])
            self._slice(m, i, act, pair, taps, halves[i // SLICES_PER_COPY], cascade, total,
                        following)  # fmt: skip
            cascade = following
        self._dots(m, total[: 2 * FIELD])
        return m

    def _halves(self, m: Module, number: int) -> tuple[Signal, Signal]:
        """Registers that are high in the first and in the second half of a cycle."""
        first = Signal(name=f"first_half_{number}", reset_less=True, attrs=KEEP)
        second = Signal(name=f"second_half_{number}", reset_less=True, attrs=KEEP)
        m.d[FAST] += [first.eq(self.second), second.eq(~self.second)]
        return first, second

    def _taps(self, m: Module, second_half: Value) -> list[Value]:
        """One fast cycle long: `switch` as it ends, and the same one cycle later each."""
        early = [Signal(name=f"tap{n}", reset_less=True) for n in range(self.in_channels + 1)]
        m.d[FAST] += early[0].eq(self.switch & second_half)
        m.d[FAST] += [late.eq(tap) for tap, late in pairwise(early)]
        return early[::2]

    def _slice(self, m: Module, i: int, act, pair, taps, halves, cascade, total, following) -> None:
        """One multiply-add. Its first product comes 3 + i fast cycles after the activation of
        input 0: an even slice begins half way through a cycle and takes its activation in two
        steps, an odd one with a cycle. Set 0 is on A in even slices and on D in odd ones."""
        odd = i % 2
        on_a, on_d = pair[::-1] if odd else pair
        first_half, second_half = halves
        inputs = {
            "CLK": ClockSignal(FAST),
            "A": Cat(on_a, on_a[-1].replicate(30 - len(on_a))),
            "B": Cat(act, act[-1].replicate(10)),
            "C": Const(1 << (FIELD - 1) if i == 0 else 0, P_BITS),
            "D": Cat(on_d, on_d[-1].replicate(self.operand_bits - len(on_d))),
            "PCIN": cascade,
            "OPMODE": Const(Z_CASCADE if i else Z_C, 9 if self.primitive == "DSP48E2" else 7),
            "ALUMODE": Const(0, 4),
            "INMODE": Cat(Const(0, 1), first_half, first_half, Const(0, 2)),  # A off, D on
            **{name: Const(0, width) for name, width in UNUSED.items()},
            **{name: Const(0, 1) for name in IDLE_ENABLES},
            **{name: Const(1, 1) for name in ALWAYS},
            "CEA2": taps[self.skew(i)],
            "CED": taps[i // 2 + 1],
            "CEB1": Const(0, 1) if odd else second_half,
            "CEB2": second_half if odd else Const(1, 1),
            **{f"RST{name}": Const(0, 1) for name in RESETS},
        }
        through_adder = (
            {"AMULTSEL": "AD", "BMULTSEL": "B", "PREADDINSEL": "A"}
            if self.primitive == "DSP48E2"
            else {"USE_DPORT": "TRUE"}
        )
        parameters = {**REGISTERS, "BREG": 1 if odd else 2, **through_adder}
        m.submodules[f"mac{i}"] = Instance(
            self.primitive,
            **{f"p_{name}": value for name, value in parameters.items()},
            **{f"i_{name}": value for name, value in inputs.items()},
            o_P=total,
            o_PCOUT=following,
        )

    def _dots(self, m: Module, total: Value) -> None:
        """Both sums of a cycle side by side: set 0 waits one fast cycle for set 1."""
        waiting = Signal(2 * FIELD, reset_less=True)
        m.d[FAST] += waiting.eq(total)
        out = []
        for s, packed in enumerate((waiting, total)):
            taken = Signal(2 * FIELD, name=f"set{s}", reset_less=True)
            m.d.sync += taken.eq(packed)
            out += dots_of(taken)
        m.d.comb += self.dots.eq(Cat(out))


def emit_block(in_channels: int, name: str) -> str:
    """Verilog of four columns: the twin for Verilator, primitives for synthesis."""
    return emit_either(DoublePair(in_channels), DoubleCascade(in_channels), name)


def emit_phase(name: str) -> str:
    """Verilog of the phase: constant for Verilator, whose twin does not look at it."""
    return emit_either(Phase(), FastPhase(), name)
