"""The compute engine: sequencer, walker, memory, array, max-pool, vector unit, exit path.

Data flow: stream words -> loader -> weights; walker -> feature memory -> lanes -> array -> exit
path -> feature memory. Knows no AXI; shell.py is the outside, isa.py the meaning of a program.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import Op
from fpga_gen.contract.params import SAFE_STEPS, EngineParams
from fpga_gen.hardware.array import mac_array
from fpga_gen.hardware.array.mac_array import MacArray
from fpga_gen.hardware.common.address import delay
from fpga_gen.hardware.common.config_view import header_fields
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for, tree
from fpga_gen.hardware.common.resets import RESET_LATENCY, data_register, reset_tree
from fpga_gen.hardware.control.sequencer import Sequencer
from fpga_gen.hardware.loader.load_unpack import LoadUnpack
from fpga_gen.hardware.loader.loader import CREDIT_LEAD, RESETS, Loader
from fpga_gen.hardware.memory.feature_memory import FeatureMemory
from fpga_gen.hardware.memory.store import StoreUnit
from fpga_gen.hardware.results import maxpool
from fpga_gen.hardware.results.exit_path import ExitPath
from fpga_gen.hardware.results.maxpool import MaxPool
from fpga_gen.hardware.results.vector import VectorUnit
from fpga_gen.hardware.shell.run_control import RESET_CYCLES, SETTLE_CYCLES
from fpga_gen.hardware.walk.lane_masks import LaneMasks
from fpga_gen.hardware.walk.walker import TOKEN_FIELDS, Walker
from fpga_gen_host.registers import ErrorCode

MASK_STAGE = 1  # register that holds the masked lanes


class Engine(wiring.Component):
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
                "program_words": In(24),
                "fetch_valid": Out(1),
                "fetch_ready": In(1),
                "fetch_region": Out(2),
                "fetch_offset": Out(32),
                "fetch_words": Out(24),
                "words_valid": In(1),
                "words_ready": Out(1),
                "words_data": In(params.stream_bits),
                "store_valid": Out(1),
                "store_ready": In(1),
                "store_offset": Out(32),
                "store_beats": Out(24),
                "store_data_valid": Out(1),
                "store_room": In(1),
                "store_data": Out(128),
                "done": Out(1),
                "error": Out(1),
                "error_code": Out(8),
                "error_info": Out(16),
                "progress": Out(1),
                "count_busy": Out(1),
                "count_stall_weights": Out(1),
                "count_stall_drain": Out(1),
                "count_stall_input": Out(1),
                "layer": Out(16),
                "layer_start": Out(1),
            }
            | ({"fast_clk": In(1)} if params.double_clock else {})
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        array = MacArray(p)
        pool = MaxPool(p)
        m.submodules.memory = memory = FeatureMemory(p)
        read_latency = memory.read_latency
        beat_latency = 1 + read_latency + MASK_STAGE  # from a started slot's beat to the array
        hold = array.stage_hold
        sequencer = Sequencer(p)
        walker = Walker(p, slot_minimum=p.slot_minimum)
        assert p.slot_minimum >= max(array.slot_min, hold + 4)
        masks = LaneMasks(p)
        loader = Loader(p, stage_hold=hold)
        unpack = LoadUnpack(p)
        vector = VectorUnit(p, read_latency=read_latency)
        store = StoreUnit(p, read_latency=read_latency)
        exit_ = ExitPath(
            p,
            drain_latency=array.drain_latency,
            safe_steps=SAFE_STEPS,
            write_latency=memory.write_latency,
        )
        overwrite = min(array.overwrite_latency, pool.overwrite_latency)
        assert beat_latency + overwrite - 5 == SAFE_STEPS
        assert pool.drain_latency == array.drain_latency
        flags = Module()  # delay lines of the array's controls
        parts = {
            "sequencer": sequencer,
            "walker": walker,
            "masks": masks,
            "unpack": unpack,
            "vector": vector,
            "store": store,
            "exit": exit_,
            "flags": flags,
        }
        assert SETTLE_CYCLES > RESET_LATENCY
        assert max(array.latency, pool.latency) < RESET_CYCLES, "the array drains in a reset"
        resets = reset_tree(m, self.reset, len(parts) + RESETS)
        for (name, part), reset in zip(parts.items(), resets[RESETS:], strict=True):
            m.submodules[name] = ResetInserter(reset)(part)
        m.submodules.loader = loader
        m.d.comb += loader.resets.eq(Cat(resets[:RESETS]))
        self._sequence(m, sequencer, walker, masks, loader, unpack, vector, store, exit_)
        self._memory(m, memory, walker, vector, store, exit_)
        self._array(m, flags, memory, walker, masks, loader, exit_, array, pool)
        self._outside(m, sequencer, walker, loader, vector, store, exit_)
        return m

    def _sequence(self, m, sequencer, walker, masks, loader, unpack, vector, store, exit_) -> None:
        m.d.comb += [
            sequencer.start.eq(self.start),
            sequencer.program_words.eq(self.program_words),
            # Loader.
            loader.command_valid.eq(sequencer.command_valid),
            sequencer.command_ready.eq(loader.command_ready),
            loader.command.eq(sequencer.command),
            sequencer.fill_valid.eq(loader.out_valid),
            sequencer.fill_data.eq(loader.out_data),
            unpack.start.eq(sequencer.load_start),
            unpack.packed.eq(header_fields(sequencer.header, Op.LOAD).packed),
            unpack.in_valid.eq(loader.out_valid & ~sequencer.filling),
            unpack.in_data.eq(loader.out_data),
            unpack.out_ready.eq(exit_.load_ready),
            exit_.load_valid.eq(unpack.out_valid),
            exit_.load_data.eq(unpack.out_data),
            loader.out_ready.eq(sequencer.filling | unpack.in_ready),
            sequencer.params_ready.eq(loader.params_ready),
            loader.param_index.eq(exit_.param_index),
            loader.param_release.eq(exit_.param_release),
            loader.param_held.eq(exit_.param_held),
            exit_.param_data.eq(loader.param_data),
            # Walker and its lanes.
            walker.start.eq(sequencer.walker_start),
            walker.header.eq(sequencer.header),
            walker.block.eq(sequencer.block),
            walker.tap.eq(sequencer.tap),
            sequencer.block_index.eq(walker.block_index),
            sequencer.tap_index.eq(walker.tap_index),
            sequencer.walker_busy.eq(walker.busy),
            walker.credit_add.eq(loader.credit_add),
            walker.lanes_ready.eq(masks.ready),
            walker.drain_free.eq(exit_.drain_free),
            masks.start.eq(sequencer.walker_start),
            masks.row_end.eq(walker.row_end),
            masks.advance.eq(walker.advance),
            masks.restore.eq(walker.restore),
            masks.commit.eq(walker.commit),
            masks.reinit.eq(walker.reinit),
            masks.dy.eq(walker.beat_dy.as_signed()),
            masks.dx.eq(walker.beat_dx.as_signed()),
            # Vector unit, store unit.
            vector.start.eq(sequencer.vector_start),
            vector.header.eq(sequencer.header),
            vector.source_index.eq(sequencer.source_index),
            vector.source_word.eq(sequencer.source_word),
            vector.source_write.eq(sequencer.source_write),
            vector.y_write.eq(sequencer.y_write),
            vector.x_write.eq(sequencer.x_write),
            vector.table_pair.eq(sequencer.table_pair),
            vector.write_data.eq(sequencer.write_data),
            sequencer.vector_busy.eq(vector.busy),
            store.start.eq(sequencer.store_start),
            store.header.eq(sequencer.header),
            sequencer.store_busy.eq(store.busy),
            store.results_in.eq(exit_.idle),
            store.granted.eq(~walker.beat_valid & ~vector.read_valid),
            walker.give_way.eq(store.request),
            # Exit path.
            exit_.vector_start.eq(sequencer.vector_start),
            exit_.vector_header.eq(sequencer.header),
            exit_.load_start.eq(sequencer.load_start),
            exit_.load_header.eq(sequencer.header),
            sequencer.load_busy.eq(exit_.load_busy),
            sequencer.exit_idle.eq(exit_.idle),
        ]
        fields = header_fields(walker.header, Op.CONV)
        m.d.comb += [
            getattr(masks, name).eq(getattr(fields, name))
            for name in (
                "row_mode",
                "y0",
                "x0",
                "in_h",
                "in_w",
                "step_dy",
                "step_dx",
                "stride_x",
                "stride_y",
            )
        ]

    def _memory(self, m, memory, walker, vector, store, exit_) -> None:
        m.d.comb += [
            memory.r_address.eq(
                Mux(
                    vector.read_valid,
                    vector.read_address,
                    Mux(walker.beat_valid, walker.beat_address, store.read_address),
                )
            ),
            memory.r_double.eq(walker.beat_valid & walker.beat_double),
            vector.read_data.eq(memory.r_data[: len(vector.read_data)]),
            store.read_data.eq(memory.r_data[: len(store.read_data)]),
            memory.w_valid.eq(exit_.write_valid),
            memory.w_address.eq(exit_.write_address),
            memory.w_data.eq(exit_.write_data),
            memory.w_bytes.eq(exit_.write_bytes),
        ]

    def _array(self, m, flags, memory, walker, masks, loader, exit_, array, pool) -> None:
        p, w = self.params, self.params.word_bits
        lag = memory.read_latency
        # Masked lanes show the padding; mask and padding bit in as many copies as they need.
        masked = delay(m, masks.mask, lag - masks.mask_latency, "mask")
        pads = tree(m, walker.beat_pad, [1] * (lag - 2) + [1, copies_for(p.lanes * p.in_channels)],
                    "pad")  # fmt: skip
        lanes = Signal(p.lanes * w, reset_less=True)
        for lane in range(p.lanes):
            pad = pads[lane * p.in_channels // LOADS]
            pad_word = Cat(*([Const(0, 7), pad] * p.in_channels))
            word = memory.r_data.word_select(lane, w)
            inside = copies(m, masked[lane], copies_for(w), f"inside_{lane}")
            for part, mask in enumerate(inside):
                bits = slice(part * LOADS, min((part + 1) * LOADS, w))
                m.d.sync += lanes[lane * w + bits.start : lane * w + bits.stop].eq(
                    Mux(mask, word[bits], pad_word[bits])
                )
        lag += MASK_STAGE
        beat = {
            name: delay(m, getattr(walker, f"beat_{name}"), lag, f"beat_{name}")
            for name in ("t", "first", "shift", "last")
        }
        valid = delay(
            flags, walker.beat_valid & ~walker.beat_pool, lag, "array_valid", reset_less=False
        )
        pool_valid = delay(
            flags, walker.beat_valid & walker.beat_pool, lag, "pool_valid", reset_less=False
        )
        assert walker.credit_latency + lag >= CREDIT_LEAD
        assert walker.slot_minimum >= CREDIT_LEAD
        early = lag - array.lead
        switch = delay(flags, walker.beat_switch, early, "switch", reset_less=False)
        mode = delay(m, walker.beat_mode, early, "beat_mode")
        done, done_t = Signal(), Signal(len(beat["t"]))
        pool_done, pool_done_t = Signal(), Signal(len(beat["t"]))
        sums = Signal(len(exit_.drain_sums))
        maxima = Signal(len(exit_.drain_maxima))
        mac_array.instantiate(
            m,
            array,
            {
                "act": lanes,
                "valid": valid,
                "t": beat["t"],
                "first": beat["first"],
                "shift8": beat["shift"],
                "last": beat["last"],
                "switch": switch,
                "mode": mode,
                "stage": loader.stage,
                **({"fast_clk": self.fast_clk} if p.double_clock else {}),
                "done_valid": done,
                "done_t": done_t,
                "drain_en": Const(1, 1),
                "drain_t": exit_.drain_t,
                "drain_lane": exit_.drain_lane,
                "drain": sums,
            },
        )
        maxpool.instantiate(
            m,
            pool,
            {
                "act": lanes[: p.pixels * w],
                "valid": pool_valid,
                "t": delay(m, walker.beat_t, lag - 1, "pool_t"),  # a cycle ahead
                "first": beat["first"],
                "last": beat["last"],
                "done_valid": pool_done,
                "done_t": pool_done_t,
                "drain_t": exit_.drain_t,
                "drain_lane": exit_.drain_lane,
                "drain": maxima,
            },
        )
        m.d.comb += [
            # The loader's next slot needs two cycles to `stage`: it may hear of the switch early.
            loader.switch.eq(switch),
            exit_.token_valid.eq(walker.token_valid),
            walker.token_ready.eq(exit_.token_ready),
            exit_.token_header.eq(walker.token_header),
            exit_.tile_done.eq((done & (done_t == 0)) | (pool_done & (pool_done_t == 0))),
            exit_.drain_sums.eq(sums),
            exit_.drain_maxima.eq(maxima),
        ]
        m.d.comb += [
            getattr(exit_, f"token_{k}").eq(getattr(walker, f"token_{k}")) for k in TOKEN_FIELDS
        ]
        self.array_valid = valid

    def _outside(self, m, sequencer, walker, loader, vector, store, exit_) -> None:
        underrun = Signal(reset_less=True)
        m.d.sync += underrun.eq(loader.underrun)
        m.d.comb += [
            exit_.vector_valid.eq(vector.result_valid),
            exit_.vector_sums.eq(vector.result_sums),
            exit_.vector_both.eq(vector.result_both),
            exit_.vector_address.eq(vector.result_address),
            exit_.vector_high.eq(vector.result_high),
            self.fetch_valid.eq(sequencer.fetch_valid),
            sequencer.fetch_ready.eq(self.fetch_ready),
            self.fetch_region.eq(sequencer.fetch_region),
            self.fetch_offset.eq(sequencer.fetch_offset),
            self.fetch_words.eq(sequencer.fetch_words),
            loader.words_valid.eq(self.words_valid),
            self.words_ready.eq(loader.words_ready),
            loader.words_data.eq(self.words_data),
            self.store_valid.eq(store.command_valid),
            store.command_ready.eq(self.store_ready),
            self.store_offset.eq(store.command_offset),
            self.store_beats.eq(store.command_beats),
            self.store_data_valid.eq(store.data_valid),
            store.room.eq(self.store_room),
            self.store_data.eq(store.data),
        ]
        late = (
            (self.done, sequencer.done),
            (self.error, sequencer.error | underrun),
            (self.error_code, Mux(underrun, ErrorCode.WEIGHT_UNDERRUN, sequencer.error_code)),
            (self.error_info, sequencer.layer),
            (self.progress, walker.beat_valid | vector.read_valid | store.read_valid),
            (self.count_busy, self.array_valid),
            (self.count_stall_weights, walker.stall_weights),
            (self.count_stall_drain, walker.stall_drain),
            (self.count_stall_input, exit_.load_busy & ~(exit_.load_valid & exit_.load_ready)),
            (self.layer, sequencer.layer),
            (self.layer_start, sequencer.layer_start),
        )
        m.d.sync += [data_register(m, port).eq(value) for port, value in late]
