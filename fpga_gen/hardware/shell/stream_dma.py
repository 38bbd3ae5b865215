"""Read ports in lock-step: one wide stream out of all AXI masters."""

from __future__ import annotations

from amaranth import Cat, Module, ResetInserter, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.params import PORT_BITS
from fpga_gen.hardware.common.fan_out import KEEP, copies
from fpga_gen.hardware.shell.axi_burst import TRANSFER, window_set
from fpga_gen.hardware.shell.axi_names import READ, prefixed
from fpga_gen.hardware.shell.read_dma import PORT_RESETS, ReadPort
from fpga_gen_host.registers import WINDOWS

QUEUE_DEPTH = 32
LANE_QUEUE_DEPTH = 4


class StreamDma(wiring.Component):
    """Reads regions striped over `ports` masters as a stream of ports*128-bit words.

    For a descriptor {address in beats, words (its field beats)}, port k reads `words` beats from
    address + k*words; a stream word holds the beat of port k in bits [128k, 128k+128).
    32 descriptors queue ahead, and ports run on into the next one. Throughput one word per cycle
    as long as every port's memory delivers one beat per cycle and descriptors are long enough
    (about 8 words); the first word comes 13 cycles plus the memory's latency after its descriptor
    with one port, one cycle more per further port.

    Members: m_axi_<k>_*: read channels; descriptor: In stream(TRANSFER); words: Out
    stream(ports*128); windows: In; flush: In, see ReadPort, which gets it a cycle late, also high
    in a reset; resets: In, PORT_RESETS copies for every port; idle: Out; violation, failed, broken,
    received: Out(ports); failed_response: Out, 2 bits per port.
    """

    def __init__(self, *, ports: int, depth: int = 512) -> None:
        self.ports = ports
        self.depth = depth
        pins = {}
        for k in range(ports):
            pins |= prefixed(f"m_axi_{k}", READ)
        super().__init__(
            {
                **pins,
                "descriptor": In(stream.Signature(TRANSFER)),
                "words": Out(stream.Signature(ports * PORT_BITS)),
                "windows": In(window_set(WINDOWS)),
                "flush": In(1),
                "resets": In(PORT_RESETS * ports),
                "idle": Out(1),
                "violation": Out(ports),
                "failed": Out(ports),
                "broken": Out(ports),
                "failed_response": Out(2 * ports),
                "received": Out(ports),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        # A reset is a flush as well (see Shell): the copies need none.
        port_flush = copies(m, self.flush, self.ports, "port_flush")
        queue = fifo.SyncFIFO(width=TRANSFER.size, depth=QUEUE_DEPTH)
        m.submodules.queue = ResetInserter(self.flush)(queue)
        m.d.comb += [
            queue.w_data.eq(self.descriptor.payload),
            queue.w_en.eq(self.descriptor.valid & self.descriptor.ready),
        ]
        m.d.sync += self.descriptor.ready.eq(queue.w_level < QUEUE_DEPTH - 1)  # a cycle late

        # One descriptor becomes one transfer per port, handed out port after port.
        transfer = Signal(TRANSFER, reset_less=True)
        lane = Signal(self.ports)  # one hot: the port whose transfer is pending; 0: none
        # `lane` is 0: for the address, for all else. The queue holds a descriptor: a cycle late, a
        # lane comes two cycles after another.
        idles = [Signal(name=f"no_lane_{n}", init=1, attrs=KEEP) for n in range(2)]
        some = Signal()
        free = Signal(self.ports)  # its queue has room; a cycle late, a lane comes every second one
        lanes, ports = [], []
        for k in range(self.ports):
            queue_of_port, port = self._port(m, k, transfer, lane[k] & free[k], port_flush[k])
            lanes.append(queue_of_port)
            ports.append(port)
        head = data.View(TRANSFER, queue.r_data)
        taken = Signal()
        m.d.comb += [
            queue.r_en.eq(idles[1] & some),
            taken.eq((lane & free).any()),
        ]
        m.d.sync += [
            free.eq(Cat(q.w_level < LANE_QUEUE_DEPTH - 1 for q in lanes)),
            some.eq(queue.r_rdy),
        ]
        with m.If(idles[1]):  # whether there is one or not
            m.d.sync += transfer.beats.eq(head.beats)
        with m.If(idles[0]):
            m.d.sync += transfer.address.eq(head.address)
        with m.Elif(taken):
            m.d.sync += transfer.address.eq(transfer.address + transfer.beats)
        with m.If(self.flush):
            m.d.sync += [lane.eq(0), *(idle.eq(1) for idle in idles)]
        with m.Elif(queue.r_en):
            m.d.sync += [lane.eq(1), *(idle.eq(0) for idle in idles)]
        with m.Elif(taken):
            m.d.sync += [lane.eq(lane << 1), *(idle.eq(lane[-1]) for idle in idles)]

        m.d.comb += self.words.valid.eq(Cat(p.data.valid for p in ports).all() & ~port_flush[0])
        for k, port in enumerate(ports):
            m.d.comb += [
                self.words.payload[PORT_BITS * k : PORT_BITS * (k + 1)].eq(port.data.payload),
                port.data.ready.eq(self.words.ready & self.words.valid),
                self.violation[k].eq(port.violation),
                self.failed[k].eq(port.failed),
                self.broken[k].eq(port.broken),
                self.failed_response.word_select(k, 2).eq(port.failed_response),
                self.received[k].eq(port.received),
            ]
        # Of the same cycle, two cycles late.
        ports_idle, lanes_idle, none_waits = Signal(), Signal(), Signal()
        m.d.sync += [
            ports_idle.eq(Cat(p.idle for p in ports).all()),
            lanes_idle.eq(~Cat(q.r_rdy for q in lanes).any() & idles[1]),
            none_waits.eq(~queue.r_rdy & ~self.descriptor.valid),
            self.idle.eq(ports_idle & lanes_idle & none_waits),
        ]
        return m

    def _port(
        self, m: Module, k: int, transfer: data.View, given: Value, flush: Value
    ) -> tuple[fifo.SyncFIFO, ReadPort]:
        """Port k behind the queue of its transfers, which takes `transfer` in cycles of `given`."""
        lane_queue = fifo.SyncFIFO(width=TRANSFER.size, depth=LANE_QUEUE_DEPTH)
        m.submodules[f"lane{k}"] = ResetInserter(flush)(lane_queue)
        m.submodules[f"port{k}"] = port = ReadPort(depth=self.depth)
        m.d.comb += [
            lane_queue.w_data.eq(transfer),
            lane_queue.w_en.eq(given),
            port.resets.eq(self.resets.word_select(k, PORT_RESETS)),
            port.transfer.payload.eq(lane_queue.r_data),
            port.transfer.valid.eq(lane_queue.r_rdy),
            lane_queue.r_en.eq(port.transfer.ready),
            port.windows.eq(self.windows),
            port.flush.eq(flush),
        ]
        for name, member in READ.items():
            inner, outer = getattr(port, name), getattr(self, f"m_axi_{k}_{name}")
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        return lane_queue, port
