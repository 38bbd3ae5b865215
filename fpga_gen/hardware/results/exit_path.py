"""Exit path: everything that leaves the array, requantised, aligned and written.

Sources: a finished tile in the drain memory of the array or of the max-pool unit (one step per
pixel lane: m pixels x CO/m channels, with two exit pixels per pair of lanes, with requantisation
lanes for each; or two pixels of a max-pool), results of the vector unit (CI
accumulators per pixel), and stream words of a LOAD. All end in one write step of the feature-map
memory. Nothing in this path can stall; the walker's token protocol keeps sources from overlapping.

Step pipeline: drain read -> requantise -> look up, if the engine has tables -> pack; exit_steps.py
walks, exit_address.py says where the values go, exit_lookup.py has the tables, exit_pack.py packs.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga_gen.contract.latencies import (
    DRAIN_LATENCY,
    REQUANT_LATENCY,
    WRITE_LATENCY,
)
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.address import delay
from fpga_gen.hardware.common.fan_out import copies_for, tree
from fpga_gen.hardware.common.joints import (
    Done,
    Drain,
    Issue,
    LookupWrite,
    ParamRead,
    Tiles,
    VectorResult,
    WriteStep,
)
from fpga_gen.hardware.common.leaf import place
from fpga_gen.hardware.common.records import PARAMS_OF_CHANNEL
from fpga_gen.hardware.results import requantise
from fpga_gen.hardware.results.exit_address import ExitAddress
from fpga_gen.hardware.results.exit_lookup import ExitLookup
from fpga_gen.hardware.results.exit_pack import EARLY, ExitPack
from fpga_gen.hardware.results.exit_steps import ExitSteps
from fpga_gen.hardware.results.requantise import VALUE_BITS, RequantLane

# Cycles from a tile step to its merge with the vector unit's results.
MERGE_LATENCY = max(ExitAddress.latency, DRAIN_LATENCY)
assert 1 + RequantLane.latency == REQUANT_LATENCY, "one input register, then the lanes"
PARAM_LATENCY = 2  # of the parameter memory and the choice by mode
FACT_LANES = 6  # lanes that share a copy of the instruction's facts


class ExitPath(wiring.Component):
    """See module docstring.

    Members:
        tiles: finished tiles. array_done, pool_done: a tile's sums or maxima come in.
        sums, maxima: reads of the drain memories. parameters: read of the loader's.
        vector_issue, vector: start of a VECTOR, its result steps (never while a tile drains).
        load_issue, words: start of a LOAD, its words for base + i and base + k * stride + i.
        lookup: words of tables. (with activations)
        write: to FeatureMemory.
        load_busy: Out, a LOAD runs. load_waits: Out, it waits for a word.
        idle: Out, nothing in flight, all results are readable.
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "tiles": In(Tiles()),
                "array_done": In(Done(params)),
                "pool_done": In(Done(params)),
                "sums": Out(Drain.sums(params)),
                "maxima": Out(Drain.maxima(params)),
                "parameters": Out(ParamRead(params)),
                "vector_issue": In(Issue()),
                "vector": In(VectorResult(params)),
                "load_issue": In(Issue()),
                "words": In(stream.Signature(params.stream_bits)),
                "write": Out(WriteStep(params)),
                "load_busy": Out(1),
                "load_waits": Out(1),
                "idle": Out(1),
            }
            | ({"lookup": In(LookupWrite())} if params.activations else {})
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.steps = steps = self.steps = ExitSteps(self.params)
        m.submodules.address = address = ExitAddress(self.params)
        m.submodules.pack = pack = ExitPack(self.params)
        connect(m, flipped(self.tiles), steps.tiles)
        connect(m, flipped(self.vector_issue), steps.vector_issue)
        connect(m, flipped(self.load_issue), steps.load_issue)
        connect(m, flipped(self.write), pack.write)
        array, pool = self.array_done, self.pool_done
        lag = MERGE_LATENCY - DRAIN_LATENCY
        t, lane = delay(m, steps.at.t, lag, "drain_t"), delay(m, steps.at.lane, lag, "drain_lane")
        taken = self.words.valid & steps.load_ready
        m.d.comb += [
            steps.tile_done.eq((array.valid & (array.t == 0)) | (pool.valid & (pool.t == 0))),
            self.sums.t.eq(t),
            self.sums.lane.eq(lane),
            self.maxima.t.eq(t),
            self.maxima.lane.eq(lane),
            self.parameters.index.eq(
                delay(m, steps.at.param, MERGE_LATENCY - PARAM_LATENCY, "param")
            ),
            self.parameters.release.eq(steps.param_release),
            self.parameters.held.eq(steps.param_held),
            address.step.eq(steps.step),
            address.at.eq(steps.at),
            address.facts.eq(steps.facts),
            pack.facts.eq(steps.facts),
            pack.maxima.eq(delay(m, self.maxima.data, self.value_latency, "maxima")),
            steps.load_valid.eq(self.words.valid),
            self.words.ready.eq(steps.load_ready),
            pack.load_valid.eq(taken),
            pack.load_pixel.eq(steps.at.pixel),
            pack.load_data.eq(self.words.payload),
            self.load_busy.eq(steps.load_busy),
            self.load_waits.eq(steps.load_busy & ~taken),
            self.idle.eq(steps.idle),
        ]
        self._merge_vector(m, address, pack)
        self._look_up(m, self._requantise(m), pack)
        self._watch(m, taken)
        return m

    def _watch(self, m: Module, taken: Value) -> None:
        """busy: some result or LOAD word is not yet readable; taken: a LOAD word arrives."""
        depth = self.params.exit_latency + WRITE_LATENCY + 2
        in_flight = Signal(range(depth + 1))
        busy = Signal()
        with m.If(self.steps.step | self.vector.valid | taken):
            m.d.sync += [in_flight.eq(depth), busy.eq(1)]
        with m.Elif(in_flight != 0):
            m.d.sync += [in_flight.eq(in_flight - 1), busy.eq(in_flight != 1)]
        m.d.comb += self.steps.busy.eq(busy)

    def _merge_vector(self, m: Module, address: ExitAddress, pack: ExitPack) -> None:
        """A vector result enters where tile sums are ready; tiles and vectors never overlap."""
        p, vector, v = self.params, self.vector, self.steps.facts.vector
        wait = MERGE_LATENCY - ExitAddress.latency
        tile = {
            name: delay(m, Value.cast(address.result[name]), wait, f"wait_{name}",
                        reset_less=name != "valid")
            for name in address.result.shape().members
        }  # fmt: skip
        step = p.row_slots if p.exit_pixels == 2 else 1  # to the second pixel's slot
        pixels = {step * index: index for index in range(p.vector_pixels)}
        slots = [
            Mux(copy, vector.address[pixels[slot]] if slot in pixels else 0,
                tile["address"].word_select(slot, len(vector.address[0])))
            for slot, copy in enumerate(tree(m, v, [p.write_slots], "vector_slot"))
        ]  # fmt: skip
        merged = {
            "valid": tile["valid"] | vector.valid,
            "address": Cat(slot[: len(vector.address[0])] for slot in slots),
            "enable": Mux(v, Cat(1, Const(0, step - 1), vector.both), tile["enable"]),
            "offset": Mux(v, 0, tile["offset"]),
            "channels": Mux(v, p.vector_pixels // p.exit_pixels * p.in_channels, tile["channels"]),
            "high": Mux(v, vector.high, tile["high"]),
        }
        for name, value in merged.items():
            cycles = self.value_latency - EARLY.get(name, 0)
            late = delay(m, value, cycles, f"late_{name}", reset_less=name != "valid")
            m.d.comb += pack.result[name].eq(late)

    @property
    def value_latency(self) -> int:
        """Cycles from sums to stored values."""
        return REQUANT_LATENCY + self.params.lookup_latency

    def _look_up(self, m: Module, values: list[Signal], pack: ExitPack) -> None:
        """Results of the lanes through the tables, if the engine has them."""
        if not self.params.activations:
            m.d.comb += [pack.values[k].eq(value) for k, value in enumerate(values)]
            return
        m.submodules.lookup = tables = ExitLookup(self.params, expand=self.expand)
        connect(m, flipped(self.lookup), tables.write)
        m.d.comb += [
            tables.lookup.eq(self.steps.facts.lookup),
            *(tables.values[k].eq(value) for k, value in enumerate(values)),
            pack.values.eq(tables.results),
        ]

    def _requantise(self, m: Module) -> list[Signal]:
        """Sums of tiles or of the vector unit through one lane each."""
        p, now = self.params, self.steps.facts
        # Parameters of a mode repeat for every pixel group: two registers, as the tree has levels.
        # Both exit pixels have them.
        lanes, row = p.requant_lanes, p.row_lanes
        modes = tree(m, now.mode, [copies_for(row, 8), row], "param_mode")
        shared = p.vector_pixels * p.in_channels
        in_row = shared // p.exit_pixels
        vectors = tree(m, now.vector, [copies_for(shared * ACC_BITS)], "from_vector")
        facts = Cat(now.lo, now.hi, now.zero)
        facts = tree(m, facts, [copies_for(lanes, FACT_LANES)], "lane_facts")
        values, words = [], []
        for lane in range(lanes):
            which, column = divmod(lane, row)
            has_column = column < p.columns
            at = which * p.columns + column
            sums = self.sums.data.word_select(at, ACC_BITS) if has_column else Const(0)
            if column < in_row:
                channel = which * in_row + column
                copy = vectors[channel * len(vectors) // shared]
                sums = Mux(copy, self.vector.sums[channel], sums)
            acc = Signal(signed(ACC_BITS), name=f"acc_{lane}", reset_less=True)
            value = Signal(signed(VALUE_BITS), name=f"value_{lane}")
            m.d.sync += acc.eq(sums)
            values.append(value)
            if which == 0:
                words.append(PARAMS_OF_CHANNEL(self._parameter(m, column, modes[column])))
            word = words[column]
            fact = facts[lane * len(facts) // lanes]
            lo, hi, zero = fact[: len(now.lo)], fact[len(now.lo) : -1], fact[-1]
            place(
                m,
                f"requant_{lane}",
                RequantLane(),
                requantise.MODULE,
                {
                    "acc": acc,
                    "bias": word.bias,
                    "mult": word.mult,
                    "shift": word.shift,
                    "zero": zero,
                    "lo": lo.as_signed(),
                    "hi": hi.as_signed(),
                    "value": value,
                },
                expand=self.expand,
            )
        return values

    def _parameter(self, m: Module, column: int, mode: Value) -> Value:
        """Parameters of a lane, PARAM_LATENCY cycles after their entry was asked for. A VECTOR has
        the same ones for every channel."""
        p, entries = self.params, self.parameters.data
        own = column if column < p.columns else 0
        word = entries[own].as_value()
        for number in p.modes[1:] if own == column else ():
            other = entries[column % p.group_channels(number)].as_value()
            word = Mux(mode == number - 1, other, word)
        return delay(m, word, 2, f"param_{column}")
