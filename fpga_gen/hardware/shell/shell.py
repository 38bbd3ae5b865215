"""Everything between the AXI pins and the compute engine."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga_gen.contract.isa import Region, width
from fpga_gen.contract.params import PORT_BITS, EngineParams
from fpga_gen.hardware.common.design_hash import BITS
from fpga_gen.hardware.common.fan_out import copies
from fpga_gen.hardware.common.joints import FETCH, STORE, EngineStatus, StoreBeats
from fpga_gen.hardware.common.resets import reset_tree
from fpga_gen.hardware.shell.axi_names import (
    BEAT_ADDRESS_BITS,
    BEAT_SHIFT,
    LITE,
    READ,
    WRITE,
    axi_members,
    prefixed,
)
from fpga_gen.hardware.shell.counters import Counter, LayerLog
from fpga_gen.hardware.shell.csr import CsrBlock
from fpga_gen.hardware.shell.run_control import RunControl, first_fault
from fpga_gen.hardware.shell.stream_dma import StreamDma
from fpga_gen.hardware.shell.translate import translate
from fpga_gen.hardware.shell.write_dma import WritePort
from fpga_gen_host.registers import (
    INTERFACE_VERSION,
    MAGIC,
    MAX_PORTS,
    WINDOWS,
    WRITE_PORT_INFO,
    ErrorCode,
)


class Shell(wiring.Component):
    """CSR block, stream DMA and write port around an engine; runs, counts and reports errors.

    A run: software writes CONTROL.start; `start` pulses; the program region (PROGRAM_WORDS stream
    words) is the first thing on `words`, then whatever `fetch` queues. After the engine's `done`
    and the last write response, DMA and engine are reset and STATUS.done and the interrupt rise.
    The first error ends the run: STATUS.error at once, `soft_reset` holds the engine until all
    outstanding AXI transfers are completed.

    Members, besides the pins of axi_names.axi_members:
        reset: In, level: resets everything, `soft_reset` is high as long.
        design_hash: In(64), constant: what the HASH registers show.
        start: Out, pulse, at least 8 cycles after soft_reset fell.
        soft_reset: Out, level of at least 16 cycles after every run: reset the engine.
        program_words: Out(24), stream words of program at the head of `words`.
        fetch: In stream {region: see isa.Region; offset: 32, units of 16 bytes from
            the region's base; words: 24, stream words}; 32 may queue.
        words: Out stream(ports*128).
        store: In stream {offset: 32, units of 16 bytes from OUTPUT; beats: 24 of 16 bytes}.
        store_beats: the beats of the stores in order.
        store_idle: Out, all accepted stores are in memory (0 in the cycle after one is accepted).
        status: of the engine; counted, logged, reported.
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                **axi_members(params.ports),
                "reset": In(1),
                "design_hash": In(BITS),
                "start": Out(1),
                "soft_reset": Out(1),
                "program_words": Out(width("words")),
                "fetch": In(stream.Signature(FETCH)),
                "words": Out(stream.Signature(params.ports * PORT_BITS)),
                "store": In(stream.Signature(STORE)),
                "store_beats": In(StoreBeats()),
                "store_idle": Out(1),
                "status": In(EngineStatus()),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.csr = csr = CsrBlock()
        m.submodules.read = read = StreamDma(ports=self.params.ports)
        m.submodules.write = write = WritePort()
        control = RunControl()
        served = (csr.resets, read.resets, write.resets)
        mine, counting, *others = reset_tree(m, self.reset, 2 + sum(map(len, served)))
        m.d.comb += Cat(served).eq(Cat(others))
        m.submodules.control = ResetInserter(mine)(control)
        # What flushes the parts of the shell between two runs also resets them.
        m.d.comb += self.soft_reset.eq(control.soft_reset | mine)
        self._connect_pins(m, csr, read, write)
        self._connect_engine(m, csr, read, write)
        m.d.comb += [
            control.start_request.eq(csr.control_start),
            control.reset_request.eq(csr.control_soft_reset),
            control.done_clear.eq(csr.status_done_clear),
            control.error_clear.eq(csr.status_error_clear),
            control.watchdog.eq(csr.watchdog),
            control.run_limit.eq(csr.run_limit),
            control.elapsed.eq(csr.cycles),
            control.frame.eq(csr.frame),
            csr.frame_run.eq(control.frame_run),
            control.progress.eq(self.status.progress | read.received.any() | write.sent),
            control.engine_done.eq(self.status.done),
            self.start.eq(control.start),
        ]
        # One cycle late; a drain and the end of a run last for many.
        m.d.sync += [
            control.writes_done.eq(self.store_idle),
            control.drained.eq(read.idle & write.drained),
        ]
        flush = copies(m, self.soft_reset, 2, "flush", reset_less=False)
        m.d.comb += [read.flush.eq(flush[0]), write.flush.eq(flush[1])]
        for name in ("busy", "draining", "done", "error", "error_code", "error_info"):
            m.d.comb += getattr(csr, f"status_{name}").eq(getattr(control, name))
        m.d.sync += self.interrupt.eq(csr.control_irq_enable & (control.done | control.error))

        no_program = Signal(reset_less=True)  # PROGRAM_WORDS is written long before a start
        begun = Signal()  # a cycle late: the run is on when its fault is seen
        m.d.sync += [no_program.eq(csr.program_words == 0), begun.eq(self.start)]
        ports = range(self.params.ports)
        first_fault(
            m,
            control,
            [
                (begun & no_program, ErrorCode.BAD_INSTRUCTION, 0),
                (write.violation, ErrorCode.ADDRESS_WINDOW, WRITE_PORT_INFO),
                *((read.violation[k], ErrorCode.ADDRESS_WINDOW, k) for k in ports),
                *(
                    (
                        read.failed[k],
                        Mux(read.broken[k], ErrorCode.AXI_PROTOCOL, ErrorCode.READ_RESPONSE),
                        Cat(Const(k, 4), read.failed_response.word_select(k, 2)),
                    )
                    for k in ports
                ),
                (
                    write.failed,
                    Mux(write.broken, ErrorCode.AXI_PROTOCOL, ErrorCode.WRITE_RESPONSE),
                    Cat(Mux(write.broken, WRITE_PORT_INFO, 0), write.failed_response),
                ),
                (self.status.error, self.status.error_code, self.status.error_info),
            ],
        )
        self._count(m, counting, csr, read, write, control)
        return m

    def _connect_pins(self, m: Module, csr: CsrBlock, read: StreamDma, write: WritePort) -> None:
        owners = [(csr, prefixed("s_axi", LITE), ""), (write, WRITE, "m_axi_0_")]
        owners += [(read, prefixed(f"m_axi_{k}", READ), "") for k in range(read.ports)]
        for owner, members, prefix in owners:
            for name, member in members.items():
                inner, outer = getattr(owner, name), getattr(self, prefix + name)
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        m.d.comb += [
            csr.id.eq(MAGIC),
            csr.version.eq(INTERFACE_VERSION),
            Cat(csr.hash_lo, csr.hash_hi).eq(self.design_hash),
            csr.config.eq(self.params.ports),
        ]
        for edge in ("base", "limit"):
            for k in range(WINDOWS):
                m.d.comb += read.windows[k][edge].eq(_address(csr, f"read_window{k}_{edge}"))
            m.d.comb += write.windows[0][edge].eq(_address(csr, f"write_window_{edge}"))

    def _connect_engine(self, m: Module, csr: CsrBlock, read: StreamDma, write: WritePort) -> None:
        """Streams of the engine with region bases added."""
        boot = Signal()  # the program's own descriptor is still to be queued
        request = Signal(FETCH)
        valid = Signal()
        base = Signal(BEAT_ADDRESS_BITS)
        m.d.comb += [request.eq(self.fetch.payload), valid.eq(self.fetch.valid & ~boot)]
        with m.If(boot):
            m.d.comb += [
                request.region.eq(Region.PROGRAM),
                request.offset.eq(0),
                request.words.eq(csr.program_words),
                valid.eq(1),
            ]
        assert len(Region) == 1 << len(request.region), "every code is a region"
        with m.Switch(request.region):
            for region in Region:
                with m.Case(region):
                    m.d.comb += base.eq(_address(csr, region.name.lower()))
        source = (valid, base, request.offset, request.words)
        ready, _ = translate(m, "fetch", source, read.descriptor, clear=self.soft_reset)
        m.d.comb += self.fetch.ready.eq(ready & ~boot)
        with m.If(self.soft_reset):
            m.d.sync += boot.eq(0)
        with m.Elif(self.start):
            m.d.sync += boot.eq(1)
        with m.Elif(ready):
            m.d.sync += boot.eq(0)

        store = self.store
        source = (store.valid, _address(csr, "output"), store.p.offset, store.p.beats)
        ready, pending = translate(m, "store", source, write.transfer, clear=self.soft_reset)
        connect(m, flipped(self.words), read.words)
        m.d.comb += [
            store.ready.eq(ready),
            self.store_idle.eq(write.idle & ~pending),
            write.data.valid.eq(self.store_beats.valid),
            write.data.payload.eq(self.store_beats.data),
            self.store_beats.room.eq(write.room),
            self.program_words.eq(csr.program_words),
        ]

    def _count(
        self,
        m: Module,
        reset: Signal,
        csr: CsrBlock,
        read: StreamDma,
        write: WritePort,
        control: RunControl,
    ) -> None:
        events = {
            "cycles": control.running,
            "busy": self.status.count_busy & control.running,
            "stall_weights": self.status.count_stall_weights & control.running,
            "stall_drain": self.status.count_stall_drain & control.running,
            "stall_input": self.status.count_stall_input & control.running,
            "write_beats": write.sent,
        }
        for k in range(MAX_PORTS):
            if k < read.ports:
                events[f"read_beats_{k}"] = read.received[k]
        # All one cycle late, clears as well: `start` has other loads.
        clear = Signal()
        m.d.sync += clear.eq(self.start)
        for name, event in events.items():
            counter = Counter()
            m.submodules[f"count_{name}"] = ResetInserter(reset)(counter)
            m.d.sync += counter.tick.eq(event)
            m.d.comb += [counter.clear.eq(clear), getattr(csr, name).eq(counter.value)]
        log = LayerLog()
        m.submodules.log = ResetInserter(reset)(log)
        m.d.sync += log.layer_start.eq(self.status.layer_start & control.running)
        m.d.comb += [
            log.clear.eq(clear),
            log.cycles.eq(csr.cycles),
            log.select.eq(csr.layer_select),
            csr.layer_index.eq(log.index),
            csr.layer_start.eq(log.start),
        ]


def _address(csr: CsrBlock, name: str):
    """A register pair NAME_LO/HI as an address in beats."""
    low, high = getattr(csr, f"{name}_lo"), getattr(csr, f"{name}_hi")
    assert len(low) == 32 - BEAT_SHIFT
    return Cat(low, high)
