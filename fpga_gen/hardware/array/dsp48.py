"""The DSP column pair in DSP48E2 and DSP48E1 primitives: the vendor's form of `DspPairChain`.

Operand, product and sum registers and the adder of every stage lie in its DSP slice, partial sums
travel on the cascade (UG579, "DSP48E2"; UG479). Only the sum of the chains is fabric logic.
Simulators take the behavioural twin in mac_dsp.py.
"""

from __future__ import annotations

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array.mac_dsp import FIELD, DspPairChain, add_chains, pair_of
from fpga_gen.hardware.common.leaf import emit_either, fields

P_BITS = 48
Z_CASCADE, Z_C = 0b0010101, 0b0110101  # OPMODE: product plus PCIN, product plus C
PRIMITIVES = {"xcup": "DSP48E2", "xc7": "DSP48E1"}  # by family
PARTS = {  # primitive: (bits of its operand, bits of OPMODE, parameters that the other lacks)
    "DSP48E2": (27, 9, {"AMULTSEL": "A", "BMULTSEL": "B"}),
    "DSP48E1": (25, 7, {"USE_DPORT": "FALSE"}),
}
REGISTERS = {  # stages used: one operand register, product, sum; C of the first stage is constant
    "AREG": 1, "ACASCREG": 1, "BREG": 1, "BCASCREG": 1, "CREG": 1, "MREG": 1, "PREG": 1,
    "DREG": 0, "ADREG": 0, "INMODEREG": 0, "OPMODEREG": 0, "ALUMODEREG": 0, "CARRYINREG": 0,
    "CARRYINSELREG": 0,
}  # fmt: skip
ENABLES = {"CEB2": 1, "CEC": 1, "CEM": 1, "CEP": 1}
IDLE_ENABLES = ("CEA1", "CEB1", "CED", "CEAD", "CEALUMODE", "CECTRL", "CECARRYIN", "CEINMODE")
UNUSED = {  # data and carry inputs and their widths
    "CARRYINSEL": 3, "CARRYIN": 1, "ACIN": 30, "BCIN": 18, "CARRYCASCIN": 1, "MULTSIGNIN": 1,
}  # fmt: skip
RESETS = ("A", "B", "C", "D", "M", "P", "CTRL", "ALUMODE", "INMODE", "ALLCARRYIN")


class DspPairCascade(DspPairChain):
    """`DspPairChain` out of primitives."""

    def __init__(
        self,
        in_channels: int,
        weight_bits: int = 8,
        primitive: str = "DSP48E2",
        field: int = FIELD,
    ) -> None:
        super().__init__(in_channels, weight_bits, field)
        assert self.packed_bits <= PARTS[primitive][0]
        self.primitive = primitive

    def elaborate(self, platform) -> Module:
        m = Module()
        activations = fields(self.act, 8)
        packed = fields(self.weights, self.packed_bits)
        ends = []
        for chain in range(2):
            cascade: Value = Const(0, P_BITS)
            for k in range(self.stages):
                i = chain * self.stages + k
                total, following = Signal(P_BITS, name=f"p{i}"), Signal(P_BITS, name=f"c{i}")
                if k % self.links == 0:
                    cascade = Const(0, P_BITS)
                self._slice(
                    m, i, activations[i], packed[i], self.switch[k], cascade, total, following
                )
                cascade = following
                if (k + 1) % self.links == 0:
                    ends.append(total[: 2 * self.field].as_signed())
        add_chains(m, self, ends)
        return m

    def _slice(self, m: Module, i: int, act, weight, switch, cascade, total, following) -> None:
        """One multiply-add; the first of a part starts from the constant 2^(field-1) on C."""
        first = i % self.links == 0
        d_bits, mode_bits, parameters = PARTS[self.primitive]
        inputs = {
            "CLK": ClockSignal(),
            "A": Cat(weight, weight[-1].replicate(30 - len(weight))),
            "B": Cat(act, act[-1].replicate(10)),
            "C": Const(1 << (self.field - 1) if first else 0, P_BITS),
            "D": Const(0, d_bits),
            "PCIN": cascade,
            "OPMODE": Const(Z_C if first else Z_CASCADE, mode_bits),
            "ALUMODE": Const(0, 4),
            "INMODE": Const(0, 5),
            **{name: Const(0, width) for name, width in UNUSED.items()},
            "CEA2": switch,
            **{name: Const(value, 1) for name, value in ENABLES.items()},
            **{name: Const(0, 1) for name in IDLE_ENABLES},
            **{f"RST{name}": Const(0, 1) for name in RESETS},
        }
        m.submodules[f"mac{i}"] = Instance(
            self.primitive,
            **{f"p_{name}": value for name, value in {**REGISTERS, **parameters}.items()},
            **{f"i_{name}": value for name, value in inputs.items()},
            o_P=total,
            o_PCOUT=following,
        )


def emit_pair(params: EngineParams, name: str) -> str:
    """Verilog of the pair: the behavioural twin for Verilator, primitives for synthesis."""
    twin = pair_of(params)
    primitives = DspPairCascade(
        params.in_channels, primitive=PRIMITIVES[params.family], field=twin.field
    )
    return emit_either(twin, primitives, name)
