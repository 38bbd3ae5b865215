"""Performance counters and the log of instruction starts."""

from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen_host.registers import LAYER_LOG_DEPTH


class Counter(wiring.Component):
    """Counts cycles of `tick`, saturating at 2^bits - 1; `clear` sets it to 0.

    The event is registered first, so `value` is 2 cycles late.
    """

    def __init__(self, bits: int = 32) -> None:
        self.bits = bits
        super().__init__({"tick": In(1), "clear": In(1), "value": Out(bits)})

    def elaborate(self, platform) -> Module:
        m = Module()
        step = Signal()
        full = Signal()
        m.d.sync += [step.eq(self.tick & ~self.clear), full.eq(self.value[1:].all())]
        # `full` is a cycle late, so it rises one below the end and the last bit guards the step.
        with m.If(self.clear):
            m.d.sync += [self.value.eq(0), full.eq(0)]
        with m.Elif(step & ~(full & self.value[0])):
            m.d.sync += self.value.eq(self.value + 1)
        return m


class LayerLog(wiring.Component):
    """Writes `cycles` to a log of 1024 entries at each `layer_start`.

    `index` counts the starts since `clear`; `start` is entry `select`, 1 cycle later. Starts
    beyond the log are counted, not written.
    """

    layer_start: In(1)
    clear: In(1)
    cycles: In(32)
    select: In(range(LAYER_LOG_DEPTH))
    index: Out(16)
    start: Out(32)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.log = log = memory.Memory(
            shape=32, depth=LAYER_LOG_DEPTH, init=[], attrs={"ram_style": "block"}
        )
        write = log.write_port()
        read = log.read_port()
        m.d.comb += [
            write.addr.eq(self.index),
            write.data.eq(self.cycles),
            write.en.eq(self.layer_start & (self.index < LAYER_LOG_DEPTH)),
            read.addr.eq(self.select),
            self.start.eq(read.data),
        ]
        with m.If(self.clear):
            m.d.sync += self.index.eq(0)
        with m.Elif(self.layer_start & ~self.index.all()):
            m.d.sync += self.index.eq(self.index + 1)
        return m
