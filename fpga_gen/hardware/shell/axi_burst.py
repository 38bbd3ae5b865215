"""Transfers to bursts: the address-window check and the cut into AXI bursts.

Addresses inside the hardware are in beats of 16 bytes (36 bits), so they are aligned by
construction.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import width
from fpga_gen.contract.params import MAX_BURST
from fpga_gen.hardware.common.fan_out import KEEP
from fpga_gen.hardware.shell.axi_names import BEAT_ADDRESS_BITS

TRANSFER = data.StructLayout({"address": BEAT_ADDRESS_BITS, "beats": width("words")})
BURST = data.StructLayout({"address": BEAT_ADDRESS_BITS, "beats": range(MAX_BURST + 1)})
WINDOW = data.StructLayout({"base": BEAT_ADDRESS_BITS, "limit": BEAT_ADDRESS_BITS})


def window_set(count: int) -> data.ArrayLayout:
    """Layout of `count` address windows."""
    return data.ArrayLayout(WINDOW, count)


class BurstPlanner(wiring.Component):
    """Checks each transfer against the windows and cuts it into bursts.

    A transfer is legal if base <= address and address + beats <= limit for one window. An illegal
    one sets `violation` and stops the planner (reset clears both). Bursts end at multiples of
    64 beats = 1 KB, so they have at most 64 beats and never cross 4 KB. A transfer of 0 beats is
    dropped. The check of a transfer overlaps the bursts of the one before; a burst takes at least
    2 cycles, the first comes 5 cycles after its transfer.

    Members: transfer: In stream(TRANSFER). burst: Out stream(BURST). windows: In, `windows` of
    them, static. violation: Out. busy: Out, a transfer is held.
    """

    def __init__(self, *, windows: int) -> None:
        super().__init__(
            {
                "transfer": In(stream.Signature(TRANSFER)),
                "burst": Out(stream.Signature(BURST)),
                "windows": In(window_set(windows)),
                "violation": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        self.checked = Signal(TRANSFER, reset_less=True)
        self.hand_over = Signal()  # the splitter can take the checked transfer
        self.handed = Signal()
        self.checking, self.splitting = Signal(), Signal()
        m.d.comb += self.busy.eq(self.checking | self.splitting)
        self._check(m)
        self._split(m)
        return m

    def _check(self, m: Module) -> None:
        """A transfer against the windows, in three steps."""
        checked, handed, checking = self.checked, self.handed, self.checking
        end = Signal(BEAT_ADDRESS_BITS + 1, reset_less=True)
        above = Signal(len(self.windows), reset_less=True)
        below = Signal(len(self.windows), reset_less=True)
        # A copy of the state IDLE for each half of what it gates.
        idle = [Signal(name=f"idle_{n}", init=1, attrs=KEEP) for n in range(2)]
        dropped = Signal()  # seen a cycle after the transfer is taken: it may come out of a memory
        for copy, part in zip(idle, ("address", "beats"), strict=True):
            with m.If(copy):
                m.d.sync += [
                    checked[part].eq(self.transfer.payload[part]),
                    copy.eq(~self.transfer.valid),
                ]
            with m.Elif(handed | dropped):
                m.d.sync += copy.eq(1)
        m.d.sync += [
            end.eq(checked.address + checked.beats),
            above.eq(Cat(checked.address >= w.base for w in self.windows)),
            below.eq(Cat(end <= w.limit for w in self.windows)),
        ]
        with m.FSM(name="check"):
            with m.State("IDLE"):
                m.d.comb += self.transfer.ready.eq(1)
                with m.If(self.transfer.valid):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += [checking.eq(1), dropped.eq(~checked.beats.any())]
                m.next = "COMPARE"
                with m.If(dropped):
                    m.next = "IDLE"
            with m.State("COMPARE"):
                m.d.comb += checking.eq(1)
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.comb += checking.eq(1)
                with m.If(~(above & below).any()):
                    m.d.sync += self.violation.eq(1)
                    m.next = "STOPPED"
                with m.Elif(self.hand_over):
                    m.d.comb += handed.eq(1)
                    m.next = "IDLE"
            with m.State("STOPPED"):
                m.d.comb += checking.eq(1)

    def _split(self, m: Module) -> None:
        """The checked transfer into bursts."""
        checked, handed, splitting = self.checked, self.handed, self.splitting
        address = Signal(BEAT_ADDRESS_BITS, reset_less=True)
        left = Signal(len(checked.beats), reset_less=True)
        room = Signal(range(MAX_BURST + 1))  # beats up to the next 1 KB boundary
        size = Signal(range(MAX_BURST + 1), reset_less=True)
        final = Signal(reset_less=True)
        fresh = Signal()  # `size` was just set: `left` counts it at once, whenever it is taken
        # Copies of `offered`: for the address, for all else.
        offers = [Signal(name=f"offered_{n}", attrs=KEEP) for n in range(2)]
        offered = offers[1]
        m.d.comb += [
            room.eq(MAX_BURST - address[: (MAX_BURST - 1).bit_length()]),
            self.hand_over.eq(~splitting),
            self.burst.valid.eq(offered),
            self.burst.p.address.eq(address),
            self.burst.p.beats.eq(size),
        ]
        for copy in offers:
            with m.If(splitting & ~copy):
                m.d.sync += copy.eq(1)
            with m.Elif(copy & self.burst.ready):
                m.d.sync += copy.eq(0)
        with m.If(handed):
            m.d.sync += address.eq(checked.address)
        with m.Elif(offers[0] & self.burst.ready):
            m.d.sync += address.eq(address + size)
        with m.If(handed):
            m.d.sync += [left.eq(checked.beats), splitting.eq(1)]
        with m.Elif(splitting & ~offered):
            m.d.sync += [final.eq(left <= room), size.eq(Mux(left <= room, left, room))]
        with m.Elif(offered & self.burst.ready):
            m.d.sync += splitting.eq(~final)
        m.d.sync += fresh.eq(splitting & ~offered)
        with m.If(fresh):
            m.d.sync += left.eq(left - size)
