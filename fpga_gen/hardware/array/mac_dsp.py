"""DSP column pair: two int8 dot products per lane, two MACs in every DSP48E2.

The weights of two output channels share one multiplier operand, w1 * 2^18 + w0, and meet one
activation. Two systolic chains of CI/2 multiply-adds each follow the DSP cascade
(p[k] <= p[k-1] + a[k] * w[k]). Eight products of -128..127 by -127..127 fit the 18-bit low field.
The chain starts from 2^17, which keeps the low field positive: the high field never borrows.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.leaf import Leaf, emit_leaves, fields

DOT_BITS = 20
FIELD = 18  # bits of the low field of a packed product
MODULE = modules.DSP_PAIR


def packed_bits(weight_bits: int = 8) -> int:
    return FIELD + weight_bits


def pack_weights(low: Value, high: Value, field: int = FIELD) -> Value:
    """w1 * 2^field + w0 from two signed weights of equal width; exact because w1 > -2^(n-1)."""
    borrowed = (high.as_signed() - low[-1])[: len(high)]
    return Cat(low, low[-1].replicate(field - len(low)), borrowed)


class DspPairChain(Leaf):
    """dot0, dot1 = sum over i of act[i] * w0[i], act[i] * w1[i]; one result per cycle.

    The caller skews the inputs: input i belongs to stage k = i mod CI/2 and its activation, and
    switch[k], arrive k cycles after those of stage 0. The skew is shared by all columns of a lane.
    With switch[k] the weights of stage k are taken from `weights`, in time for the activation of
    that same cycle.

    Members:
        act: In(8 * CI), signed bytes, input 0 lowest.
        weights: In(26 * CI), packed weights (`pack_weights`), input 0 lowest.
        switch: In(CI/2).
        dot0, dot1: Out(20), signed, `latency` cycles after stage 0's activation.
    """

    act_delay = 0  # cycles from `switch` to the activations it applies to

    def __init__(self, in_channels: int, weight_bits: int = 8) -> None:
        self.in_channels = in_channels
        self.stages = in_channels // 2
        self.packed_bits = packed_bits(weight_bits)
        super().__init__(
            {
                "act": In(8 * in_channels),
                "weights": In(self.packed_bits * in_channels),
                "switch": In(self.stages),
                "dot0": Out(DOT_BITS),
                "dot1": Out(DOT_BITS),
            }
        )

    @property
    def weights_hold(self) -> int:
        """Cycles from the switch of stage 0 until the last stage has its weights."""
        return self.stages

    @property
    def latency(self) -> int:
        """Operand register, product register, one accumulator per stage, sum of the chains."""
        return 2 + self.stages + 1

    def elaborate(self, platform) -> Module:
        m = Module()
        act = Signal(8 * self.in_channels, reset_less=True)
        m.d.sync += act.eq(self.act)
        activations = fields(act, 8)
        packed = fields(self.weights, self.packed_bits)
        ends = []
        for chain in range(2):
            total = Const(1 << (FIELD - 1), signed(2 * FIELD))
            for k in range(self.stages):
                i = chain * self.stages + k
                weight = Signal(signed(self.packed_bits), name=f"w{i}", reset_less=True)
                product = Signal(signed(2 * FIELD), name=f"m{i}", reset_less=True)
                partial = Signal(signed(2 * FIELD), name=f"p{i}", reset_less=True)
                with m.If(self.switch[k]):
                    m.d.sync += weight.eq(packed[i])
                m.d.sync += [
                    product.eq(activations[i].as_signed() * weight),
                    partial.eq(total + product),
                ]
                total = partial
            ends.append(total)
        add_chains(m, self, ends)
        return m


def add_chains(m: Module, pair: DspPairChain, ends: list[Value]) -> None:
    """The two fields of both chains' last sums, added and registered."""
    low = Signal(FIELD + 1, reset_less=True)  # dot0 + 2^18
    high = Signal(signed(FIELD + 1), reset_less=True)
    m.d.sync += [
        low.eq(ends[0][:FIELD] + ends[1][:FIELD]),
        high.eq(ends[0][FIELD:].as_signed() + ends[1][FIELD:].as_signed()),
    ]
    m.d.comb += [
        pair.dot0.eq(Cat(low[:FIELD], ~low[FIELD]).as_signed()),
        pair.dot1.eq(high),
    ]


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """The leaf by module name; empty if the engine has no DSP columns."""
    return {MODULE: DspPairChain(params.in_channels)} if params.dsp_columns else {}


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog} of the leaf."""
    return emit_leaves(leaves(params))
