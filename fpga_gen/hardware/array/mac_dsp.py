"""DSP column pair: two int8 dot products per lane, two MACs in every DSP slice.

The weights of two output channels share one multiplier operand, w1 * 2^field + w0, and meet one
activation. Two systolic chains of CI/2 multiply-adds each follow the DSP cascade
(p[k] <= p[k-1] + a[k] * w[k]). The low field starts from 2^(field-1), which keeps it positive: the
high field never borrows. 18 bits, which the 27-bit operand of a DSP48E2 has room for, hold eight
products of -128..127 by -127..127; the 17 bits of a DSP48E1, whose operand has 25, hold four, and a
longer chain is cut into parts (docs/decisions/0045-packed-weights-in-a-dsp48e1.md).
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import delay
from fpga_gen.hardware.common.leaf import Leaf, emit_leaves, fields

DOT_BITS = 20
FIELD = 18  # bits of the low field of a packed product
FIELDS = {"xcup": FIELD, "xc7": 17}  # by family
LARGEST_PRODUCT = 128 * 127
MODULE = modules.DSP_PAIR


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
        weights: In((field + 8) * CI), packed weights (`pack_weights`), input 0 lowest.
        switch: In(CI/2).
        dot0, dot1: Out(20), signed, `latency` cycles after stage 0's activation.
    """

    act_delay = 0  # cycles from `switch` to the activations it applies to

    def __init__(self, in_channels: int, weight_bits: int = 8, field: int = FIELD) -> None:
        self.in_channels = in_channels
        self.stages = in_channels // 2
        self.field = field
        self.links = min(self.stages, (1 << (field - 1)) // LARGEST_PRODUCT)  # of a part
        assert self.stages % self.links == 0
        self.packed_bits = field + weight_bits
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
        """Operand register, product register, one accumulator per stage, sum of the chains, sums
        of their parts."""
        return 2 + self.stages + 1 + (self.stages // self.links - 1).bit_length()

    def elaborate(self, platform) -> Module:
        m = Module()
        act = Signal(8 * self.in_channels, reset_less=True)
        m.d.sync += act.eq(self.act)
        activations = fields(act, 8)
        packed = fields(self.weights, self.packed_bits)
        bits = 2 * self.field
        ends = []
        for chain in range(2):
            total = Const(0, signed(bits))
            for k in range(self.stages):
                i = chain * self.stages + k
                if k % self.links == 0:
                    total = Const(1 << (self.field - 1), signed(bits))
                weight = Signal(signed(self.packed_bits), name=f"w{i}", reset_less=True)
                product = Signal(signed(bits), name=f"m{i}", reset_less=True)
                partial = Signal(signed(bits), name=f"p{i}", reset_less=True)
                with m.If(self.switch[k]):
                    m.d.sync += weight.eq(packed[i])
                m.d.sync += [
                    product.eq(activations[i].as_signed() * weight),
                    partial.eq(total + product),
                ]
                total = partial
                if (k + 1) % self.links == 0:
                    ends.append(total)
        add_chains(m, self, ends)
        return m


def add_chains(m: Module, pair: DspPairChain, ends: list[Value]) -> None:
    """The two fields of the last sums of all parts, those of the first chain first, added and
    registered: the two of a time, and then, as late as the last ones, part by part."""
    field, parts = pair.field, pair.stages // pair.links
    terms: list[tuple[Value, Value]] = []
    for part in range(parts):
        one, two = ends[part], ends[parts + part]
        low = Signal(field + 1, name=f"low_{part}", reset_less=True)
        high = Signal(signed(field + 1), name=f"high_{part}", reset_less=True)
        m.d.sync += [
            low.eq(one[:field] + two[:field]),
            high.eq(one[field:].as_signed() + two[field:].as_signed()),
        ]
        late = (parts - 1 - part) * pair.links
        terms.append((delay(m, low, late, f"low_{part}"),
                      delay(m, high, late, f"high_{part}").as_signed()))  # fmt: skip
    while len(terms) > 1:
        following: list[tuple[Value, Value]] = []
        for (low_1, high_1), (low_2, high_2) in zip(terms[::2], terms[1::2], strict=True):
            low = Signal(len(low_1) + 1, reset_less=True)
            high = Signal(signed(len(high_1) + 1), reset_less=True)
            m.d.sync += [low.eq(low_1 + low_2), high.eq(high_1 + high_2)]
            following.append((low, high))
        terms = following
    ((low, high),) = terms  # low: dot0 and half of its range
    m.d.comb += [pair.dot0.eq(Cat(low[:-1], ~low[-1]).as_signed()), pair.dot1.eq(high)]


def pair_of(params: EngineParams) -> DspPairChain:
    """The pair as the engine's family has it."""
    return DspPairChain(params.in_channels, field=FIELDS[params.family])


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """The leaf by module name; empty if the engine has no DSP columns."""
    return {MODULE: pair_of(params)} if params.dsp_columns else {}


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog} of the leaf."""
    return emit_leaves(leaves(params))
