"""The compute engine: sequencer, walker, memory, array, max-pool, vector unit, exit path.

Data flow: stream words -> loader -> weights; walker -> feature memory -> lanes -> array -> exit
path -> feature memory. Knows no AXI; shell.py is the outside, isa.py the meaning of a program.
common/joints.py says what the blocks tell each other.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga_gen.contract.isa import width
from fpga_gen.contract.latencies import BEAT_LATENCY
from fpga_gen.contract.params import SAFE_STEPS, EngineParams
from fpga_gen.hardware.array import mac_array
from fpga_gen.hardware.array.feed import ArrayFeed
from fpga_gen.hardware.array.mac_array import MacArray
from fpga_gen.hardware.common.joints import FETCH, STORE, EngineStatus, StoreBeats
from fpga_gen.hardware.common.leaf import place_ports
from fpga_gen.hardware.common.resets import RESET_LATENCY, data_register, reset_tree
from fpga_gen.hardware.control.sequencer import Sequencer
from fpga_gen.hardware.loader.load_unpack import LoadUnpack
from fpga_gen.hardware.loader.loader import CREDIT_LEAD, RESETS, Loader
from fpga_gen.hardware.memory.feature_memory import FeatureMemory
from fpga_gen.hardware.memory.store import StoreUnit
from fpga_gen.hardware.results import maxpool
from fpga_gen.hardware.results.exit_path import ExitPath
from fpga_gen.hardware.results.maxpool import MaxPoolUnit
from fpga_gen.hardware.results.vector import VectorUnit
from fpga_gen.hardware.shell.run_control import RESET_CYCLES, SETTLE_CYCLES
from fpga_gen.hardware.walk.lane_masks import LaneMasks
from fpga_gen.hardware.walk.walker import Walker
from fpga_gen_host.registers import ErrorCode


class EngineCore(wiring.Component):
    """See module docstring. Members mirror the engine side of `shell.Shell`.

    reset: In, level of at least RESET_CYCLES before every run, `start` at least SETTLE_CYCLES after
    it; the parts see it RESET_LATENCY cycles late. The clock domain itself has no reset.
    fast_clk: In, twice the engine's clock, every second edge with the engine's. (with double_clock)
    """

    def __init__(self, params: EngineParams) -> None:
        self.params = params
        super().__init__(
            {
                "reset": In(1),
                "start": In(1),
                "program_words": In(width("words")),
                "fetch": Out(stream.Signature(FETCH)),
                "words": In(stream.Signature(params.stream_bits)),
                "store": Out(stream.Signature(STORE)),
                "store_beats": Out(StoreBeats()),
                "status": Out(EngineStatus()),
            }
            | ({"fast_clk": In(1)} if params.double_clock else {})
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        self.sequencer = Sequencer(p)
        self.walker = Walker(p)
        self.masks = LaneMasks(p)
        self.unpack = LoadUnpack(p)
        self.vector = VectorUnit(p)
        self.store_unit = StoreUnit(p)
        self.exit = ExitPath(p)
        self.feed = ArrayFeed(p)
        parts = {
            "sequencer": self.sequencer,
            "walker": self.walker,
            "masks": self.masks,
            "unpack": self.unpack,
            "vector": self.vector,
            "store": self.store_unit,
            "exit": self.exit,
            "feed": self.feed,
        }
        assert SETTLE_CYCLES > RESET_LATENCY
        resets = reset_tree(m, self.reset, len(parts) + RESETS)
        for (name, part), reset in zip(parts.items(), resets[RESETS:], strict=True):
            m.submodules[name] = ResetInserter(reset)(part)
        m.submodules.memory = self.memory = FeatureMemory(p)
        m.submodules.loader = self.loader = Loader(p)
        m.d.comb += self.loader.resets.eq(Cat(resets[:RESETS]))
        array, pool = MacArray(p), MaxPoolUnit(p)
        self._check_latencies(array, pool)
        self.array = place_ports(m, "mac_array", array, mac_array.MODULE)
        self.pool = place_ports(m, "pool", pool, maxpool.MODULE)
        self._issue(m)
        self._stream(m)
        self._walk(m)
        self._results(m)
        self._outside(m)
        return m

    def _check_latencies(self, array: MacArray, pool: MaxPoolUnit) -> None:
        """What the blocks count on of each other."""
        assert max(array.latency, pool.latency) < RESET_CYCLES, "the array drains in a reset"
        overwrite = min(array.overwrite_latency, pool.overwrite_latency)
        assert BEAT_LATENCY + overwrite - 5 == SAFE_STEPS
        assert self.walker.credit_latency + self.feed.latency >= CREDIT_LEAD
        assert self.params.slot_minimum >= CREDIT_LEAD

    def _issue(self, m: Module) -> None:
        """Instructions to the units, and the tables that belong to them."""
        sequencer, walker = self.sequencer, self.walker
        connect(m, sequencer.walk, walker.issue, self.masks.issue)
        connect(m, sequencer.vector, self.vector.issue, self.exit.vector_issue)
        connect(m, sequencer.load, self.unpack.issue, self.exit.load_issue)
        connect(m, sequencer.store, self.store_unit.issue)
        connect(m, walker.blocks, sequencer.blocks)
        connect(m, walker.taps, sequencer.taps)
        connect(m, walker.lists, sequencer.lists)
        connect(m, sequencer.tables, self.vector.tables)
        if self.params.activations:
            connect(m, sequencer.lookup, self.exit.lookup)
        units = sequencer.units
        m.d.comb += [
            units.walker_busy.eq(walker.busy),
            units.vector_busy.eq(self.vector.busy),
            units.load_busy.eq(self.exit.load_busy),
            units.store_busy.eq(self.store_unit.busy),
            units.exit_idle.eq(self.exit.idle),
            units.params_ready.eq(self.loader.params_ready),
        ]

    def _stream(self, m: Module) -> None:
        """Words of the DRAM: weights to the array, the program, maps to the exit path."""
        loader, unpack, fill = self.loader, self.unpack, self.sequencer.fill
        connect(m, flipped(self.words), loader.words)
        connect(m, self.sequencer.command, loader.command)
        connect(m, unpack.out, self.exit.words)
        m.d.comb += [
            fill.valid.eq(loader.out.valid),
            fill.word.eq(loader.out.payload),
            unpack.words.valid.eq(loader.out.valid & ~fill.filling),
            unpack.words.payload.eq(loader.out.payload),
            loader.out.ready.eq(fill.filling | unpack.words.ready),
            self.array.stage.eq(loader.stage),
            # The loader's next slot needs two cycles to `stage`: it may hear of the switch early.
            loader.switch.eq(self.feed.array.switch),
            self.walker.credit_add.eq(loader.credit_add),
        ]

    def _walk(self, m: Module) -> None:
        """Beats of the walker through memory and lanes to the array."""
        walker, memory, feed = self.walker, self.memory, self.feed
        connect(m, walker.motion, self.masks.motion)
        connect(m, walker.beat, memory.beat, feed.beat)
        connect(m, feed.array, self.array.beat)
        connect(m, feed.pool, self.pool.beat)
        m.d.comb += [
            feed.mask.eq(self.masks.mask),
            feed.words.eq(memory.lanes),
            walker.give_way.eq(self.store_unit.request),
        ]
        if self.params.double_clock:
            m.d.comb += self.array.fast_clk.eq(self.fast_clk)

    def _results(self, m: Module) -> None:
        """Sums, maxima and results of the vector unit to the memory, and from there to the DRAM."""
        exit_, memory, store = self.exit, self.memory, self.store_unit
        connect(m, self.walker.tiles, exit_.tiles)
        connect(m, self.array.done, exit_.array_done)
        connect(m, self.pool.done, exit_.pool_done)
        connect(m, exit_.sums, self.array.drain)
        connect(m, exit_.maxima, self.pool.drain)
        connect(m, exit_.parameters, self.loader.parameters)
        connect(m, self.vector.read, memory.vector)
        connect(m, self.vector.result, exit_.vector)
        connect(m, exit_.write, memory.write)
        connect(m, store.read, memory.store)
        connect(m, flipped(self.store), store.command)
        connect(m, flipped(self.store_beats), store.beats)
        m.d.comb += [store.results_in.eq(exit_.idle), store.granted.eq(memory.free)]

    def _outside(self, m: Module) -> None:
        sequencer, walker, status = self.sequencer, self.walker, self.status
        underrun = Signal(reset_less=True)
        m.d.sync += underrun.eq(self.loader.underrun)
        connect(m, flipped(self.fetch), sequencer.fetch)
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.program_words.eq(self.program_words),
        ]
        reading = walker.beat.valid | self.vector.read.valid | self.store_unit.read.valid
        late = (
            (status.done, sequencer.done),
            (status.error, sequencer.error | underrun),
            (status.error_code, Mux(underrun, ErrorCode.WEIGHT_UNDERRUN, sequencer.error_code)),
            (status.error_info, sequencer.layer),
            (status.progress, reading),
            (status.count_busy, self.feed.array.valid),
            (status.count_stall_weights, walker.stall_weights),
            (status.count_stall_drain, walker.stall_drain),
            (status.count_stall_input, self.exit.load_waits),
            (status.layer, sequencer.layer),
            (status.layer_start, sequencer.layer_start),
        )
        m.d.sync += [data_register(m, port).eq(value) for port, value in late]
