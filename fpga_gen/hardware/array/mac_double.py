"""Four DSP columns on the slices of two, which run at twice the engine's clock: behaviour.

Two packed weight pairs, w1 * 2^19 + w0, meet one activation in the two halves of a cycle. The
leaves here need the engine's clock alone and are what simulators take; dsp48_double.py has them in
DSP48E2 slices, with the same latency and the same demands on the inputs.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array.mac_dsp import DOT_BITS, pack_weights
from fpga_gen.hardware.common.leaf import Leaf, fields

FIELD = 19  # bits of the low field of a packed product: sixteen products fit
SETS = 2  # weight sets of a slice, one for each half of a cycle
COLUMNS = 2 * SETS  # of one leaf
MODULE = modules.DSP_DOUBLE
PHASE = modules.PHASE


def pack_pair(low: Value, high: Value) -> Value:
    """`pack_weights` with the wider field of these columns."""
    return pack_weights(low, high, FIELD)


def dots_of(total: Value) -> list[Value]:
    """Both dot products of a packed sum that began with 2^18."""
    low, high = total[:FIELD], total[FIELD:]
    offset_off = Cat(low[:-1], ~low[-1])
    return [Cat(x, x[-1].replicate(DOT_BITS - FIELD)) for x in (offset_off, high)]


class Phase(Leaf):
    """Marks the fast cycles: `second` is high in the second half of every cycle of the engine.

    Members:
        fast_clk: In(1), twice the engine's clock, every second edge with the engine's.
        second: Out(1), a register of the fast clock; here constant, the twin has no halves.
    """

    def __init__(self) -> None:
        super().__init__({"fast_clk": In(1), "second": Out(1)})

    def elaborate(self, platform) -> Module:
        m = Module()
        m.d.sync += self.second.eq(0)
        return m


class DoublePair(Leaf):
    """dots[2 * s + x] = sum over i of act[i] * w_sx[i]; four results per cycle from CI slices.

    The caller skews the activations: input i comes `skew(i)` cycles after input 0. `switch` comes
    `act_delay` cycles before the first activation of input 0 that the new weights apply to;
    `weights` are there with `switch` and stay for `weights_hold` cycles.

    Members:
        act: In(8 * CI), signed bytes, input 0 lowest.
        weights: In(2 * packed_bits * CI), packed pairs (`pack_pair`): those of set 0, input 0
            lowest, then those of set 1.
        switch: In(1).
        fast_clk, second: In(1), see `Phase`.
        dots: Out(4 * 20), signed, `latency` cycles after the activation of input 0.
    """

    act_delay = 1

    def __init__(self, in_channels: int, weight_bits: int = 8) -> None:
        self.in_channels = in_channels
        self.packed_bits = FIELD + weight_bits
        assert in_channels <= 16
        super().__init__(
            {
                "act": In(8 * in_channels),
                "weights": In(SETS * self.packed_bits * in_channels),
                "switch": In(1),
                "fast_clk": In(1),
                "second": In(1),
                "dots": Out(COLUMNS * DOT_BITS),
            }
        )

    @staticmethod
    def skew(i: int) -> int:
        """Cycles that input i comes after input 0: the cascade takes half a cycle per slice."""
        return (i + 1) // 2

    @property
    def latency(self) -> int:
        """Operand, pre-adder, product, one sum per slice at half a cycle each; dots."""
        return 3 + self.in_channels // 2

    @property
    def weights_hold(self) -> int:
        """The last slice takes its weights as late as its first activation."""
        return 2 + self.in_channels // 2

    def elaborate(self, platform) -> Module:
        """All inputs wait for the last one, then one sum takes two registers."""
        m = Module()
        last = self.skew(self.in_channels - 1) if self.in_channels > 1 else 0
        act = Signal(8 * self.in_channels, reset_less=True)
        aligned = [
            self._delayed(m, value, last - self.skew(i), f"act{i}")
            for i, value in enumerate(fields(self.act, 8))
        ]
        m.d.sync += act.eq(Cat(aligned))
        weights = Signal(len(self.weights), reset_less=True)
        with m.If(self._delayed(m, self.switch, last + self.act_delay, "switch")):
            m.d.sync += weights.eq(self.weights)
        packed = fields(weights, self.packed_bits)
        dots = []
        for s in range(SETS):
            total = Signal(signed(2 * FIELD), name=f"total{s}", reset_less=True)
            pairs = zip(fields(act, 8), packed[s * self.in_channels :], strict=False)
            m.d.sync += total.eq(
                sum((a.as_signed() * w.as_signed() for a, w in pairs), 1 << (FIELD - 1))
            )
            dots += dots_of(total)
        m.d.comb += self.dots.eq(self._delayed(m, Cat(dots), self.latency - last - 2, "dots"))
        return m

    def _delayed(self, m: Module, value: Value, cycles: int, name: str) -> Value:
        """`value` some cycles later: one word that is shifted."""
        if not cycles:
            return value
        line = Signal(len(value) * cycles, name=f"{name}_line", reset_less=True)
        m.d.sync += line.eq(Cat(line, value)[len(value) :])
        return line[: len(value)]


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """Both leaves by module name; empty if the DSP columns run at the engine's clock."""
    if not params.double_clock:
        return {}
    return {MODULE: DoublePair(params.in_channels), PHASE: Phase()}
