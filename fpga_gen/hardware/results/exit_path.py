"""Exit path: everything that leaves the array, requantised, aligned and written.

Sources: a finished tile in the drain memory of the array or of the max-pool unit (one step per
pixel lane: m pixels x CO/m channels, or two pixels of a max-pool), results of the vector unit (CI
accumulators per pixel), and stream words of a LOAD. All end in one write step of the feature-map
memory. Nothing in this path can stall; the walker's token protocol keeps sources from overlapping.

Step pipeline: drain read -> requantise -> pack; exit_steps.py walks, exit_pack.py packs.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.contract.isa import ADDRESS_BITS, HEADER_WORDS
from fpga_gen.contract.numerics import ACC_BITS, BIAS_BITS, MULT_BITS, SHIFT_BITS
from fpga_gen.contract.params import PARAM_BITS, PARAM_ENTRIES, EngineParams
from fpga_gen.hardware.common.address import add, constant, delay
from fpga_gen.hardware.common.fan_out import copies_for, tree
from fpga_gen.hardware.common.leaf import place
from fpga_gen.hardware.memory.feature_memory import write_slots
from fpga_gen.hardware.results import requantise
from fpga_gen.hardware.results.exit_pack import PACK_STAGES, ExitPack, slot_source
from fpga_gen.hardware.results.exit_steps import ExitSteps
from fpga_gen.hardware.results.requantise import RequantLane
from fpga_gen.hardware.walk.walker import TOKEN_FIELDS

META_STAGES = 5  # cycles from a tile step to its word addresses
EARLY = {"high": 1, "offset": 1, "channels": 2}  # cycles ahead of the values, for the packer
FACT_LANES = 6  # lanes that share a copy of the instruction's facts


class ExitPath(wiring.Component):
    """See module docstring.

    token_*: one finished tile (walker.TOKEN_FIELDS) and its instruction header. tile_done: its
    first sums reached the drain memory. drain_free: the drain memory may be written
    `safe_steps` cycles from now. vector_*: one result step (never while a tile drains).
    load_*: LOAD words (valid/ready), addresses base + i and base + k * stride + i.
    write_*: to FeatureMemory. idle: nothing in flight, all results are readable.
    """

    def __init__(
        self,
        params: EngineParams,
        *,
        drain_latency: int,
        safe_steps: int,
        write_latency: int,
        expand: bool = False,
    ) -> None:
        self.params = params
        self.drain_latency = drain_latency
        self.safe_steps = safe_steps
        self.write_latency = write_latency
        self.expand = expand
        self.slots = write_slots(params)
        p, a, n = params, ADDRESS_BITS, self.slots
        t_bits = (p.tile_groups - 1).bit_length()
        lane_bits = max((p.pixels - 1).bit_length(), 1)
        members = {
            "token_valid": In(1),
            "token_ready": Out(1),
            "token_header": In(64 * HEADER_WORDS),
            "tile_done": In(1),
            "drain_free": Out(1),
            "drain_t": Out(t_bits),
            "drain_lane": Out(lane_bits),
            "drain_sums": In(p.columns * ACC_BITS),
            "drain_maxima": In(p.pool_pixels * p.word_bits),
            "param_index": Out(range(PARAM_ENTRIES)),
            "param_data": In(p.columns * PARAM_BITS),
            "param_release": Out(1),
            "param_held": Out(1),
            "vector_valid": In(1),
            "vector_start": In(1),
            "vector_header": In(64 * HEADER_WORDS),
            "vector_both": In(1),
            "vector_sums": In(p.vector_pixels * p.in_channels * ACC_BITS),
            "vector_address": In(p.vector_pixels * a),
            "vector_high": In(1),
            "load_start": In(1),
            "load_header": In(64 * HEADER_WORDS),
            "load_valid": In(1),
            "load_ready": Out(1),
            "load_data": In(p.stream_bits),
            "write_valid": Out(n),
            "write_address": Out(n * a),
            "write_data": Out(n * p.word_bits),
            "write_bytes": Out(n * p.word_bits // 8),
            "load_busy": Out(1),
            "idle": Out(1),
        }
        members |= {f"token_{k}": In(v) for k, v in TOKEN_FIELDS.items()}
        super().__init__(members)

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        self.pre = max(META_STAGES, self.drain_latency)  # cycles from step to requantisation
        m.submodules.steps = steps = self.steps = ExitSteps(p, safe_steps=self.safe_steps)
        m.submodules.pack = pack = ExitPack(p)
        for name in (
            *("token_valid", "token_header", "tile_done", "vector_start", "vector_header"),
            *("load_start", "load_header", "load_valid", *(f"token_{k}" for k in TOKEN_FIELDS)),
        ):
            m.d.comb += getattr(steps, name).eq(getattr(self, name))
        for name in (
            *("token_ready", "drain_free", "param_release", "param_held", "load_ready"),
            *("load_busy", "idle"),
        ):
            m.d.comb += getattr(self, name).eq(getattr(steps, name))
        lag = self.pre - self.drain_latency
        m.d.comb += [
            self.drain_t.eq(delay(m, steps.t, lag, "drain_t")),
            self.drain_lane.eq(delay(m, steps.lane, lag, "drain_lane")),
            # The parameter memory and the mode selection take two cycles.
            self.param_index.eq(delay(m, steps.param, self.pre - 2, "param")),
        ]
        meta = self._merge_vector(m, self._tile_meta(m))
        values, maxima = self._requantise(m)
        late = {
            name: delay(
                m,
                value,
                self.requant_latency - EARLY.get(name, 0),
                f"late_{name}",
                reset_less=name != "valid",
            )
            for name, value in meta.items()
        }
        m.d.comb += [getattr(pack, name).eq(value) for name, value in late.items()]
        m.d.comb += [pack.values[index].eq(value) for index, value in enumerate(values)]
        taken = self.load_valid & steps.load_ready
        m.d.comb += [
            pack.maxima.eq(maxima),
            pack.load_valid.eq(taken),
            pack.load_pixel.eq(steps.pixel),
            pack.load_data.eq(self.load_data),
        ]
        for name in ("mode", "pool", "out16", "bases"):
            m.d.comb += getattr(pack, name).eq(getattr(steps, name))
        for name in ("write_valid", "write_address", "write_data", "write_bytes"):
            m.d.comb += getattr(self, name).eq(getattr(pack, name))
        self._watch(m, taken)
        return m

    @property
    def requant_latency(self) -> int:
        """From merged sums to stored values: one input register, then the lanes."""
        return 1 + RequantLane.latency

    def _watch(self, m: Module, taken: Value) -> None:
        """busy: some result or LOAD word is not yet readable; taken: a LOAD word arrives."""
        depth = self.pre + self.requant_latency + PACK_STAGES + self.write_latency + 2
        in_flight = Signal(range(depth + 1))
        busy = Signal()
        with m.If(self.steps.step | self.vector_valid | taken):
            m.d.sync += [in_flight.eq(depth), busy.eq(1)]
        with m.Elif(in_flight != 0):
            m.d.sync += [in_flight.eq(in_flight - 1), busy.eq(in_flight != 1)]
        m.d.comb += self.steps.busy.eq(busy)

    def _tile_meta(self, m: Module) -> dict:
        """Addresses and facts of a tile step, `pre` cycles after it was issued."""
        p, steps, a = self.params, self.steps, ADDRESS_BITS
        # Stage 1: this lane's pixel, and which pixel groups are inside the map.
        lane_pixel = Signal(a, reset_less=True)
        position = Signal(24, reset_less=True)
        low = Signal(a, reset_less=True)
        m.d.sync += [
            lane_pixel.eq(add(m, steps.pixel, steps.lane, p.banks, "lane_pixel_sum")),
            position.eq(steps.index + steps.lane),
            low.eq(Mux(steps.low_pass, steps.out_low, 0)),
        ]
        # Stage 2: the low byte plane of a 16-bit map lies elsewhere.
        plane_pixel = Signal(a, reset_less=True)
        m.d.sync += plane_pixel.eq(add(m, lane_pixel, low, p.banks, "plane_pixel_sum"))
        inside = Signal(p.max_mode, reset_less=True)
        for group in range(p.max_mode):
            left = Signal(25, name=f"room_{group}", reset_less=True)  # limit - first pixel
            if group:
                m.d.sync += left.eq(steps.limit - group * p.pixels)
            else:
                m.d.comb += left.eq(steps.limit)
            m.d.sync += inside[group].eq(
                (position.as_signed() < left.as_signed()) & (steps.mode >= group)
            )
        pair = delay(m, steps.pair, 1, "pair")
        second_inside = Signal(reset_less=True)  # the second pixel of a max-pool step
        before = Signal(25, reset_less=True)
        m.d.sync += [
            before.eq(steps.limit - 1),
            second_inside.eq(pair & (position.as_signed() < before.as_signed())),
        ]
        # Stage 3: the pixel of every group.
        pixels = []
        for group in range(p.max_mode):
            pixel = Signal(a, name=f"pixel_{group}", reset_less=True)
            offset = constant(group * p.pixels, p.banks)
            m.d.sync += pixel.eq(
                add(m, plane_pixel, offset, p.banks, f"pixel_sum_{group}") if group else plane_pixel
            )
            pixels.append(pixel)
        second_pixel = Signal(a, reset_less=True)
        m.d.sync += second_pixel.eq(
            add(m, plane_pixel, constant(1, p.banks), p.banks, "second_pixel_sum")
        )
        inside = delay(m, inside, 1, "inside")
        second_inside = delay(m, second_inside, 1, "second_inside")
        # Stages 4, 5: plane and pixel of every write slot, their sum.
        address = Signal(self.slots * a, reset_less=True)
        enable = Signal(self.slots, reset_less=True)
        modes = tree(m, steps.mode, [self.slots], "slot_mode")
        pools = tree(m, steps.pool, [self.slots], "slot_pool")
        for slot in range(self.slots):
            base = Signal(a, name=f"slot_base_{slot}", reset_less=True)
            pixel = Signal(a, name=f"slot_pixel_{slot}", reset_less=True)
            used = Signal(name=f"slot_used_{slot}", reset_less=True)
            for mode in p.modes:
                source = slot_source(p, mode, slot)
                if source is not None:
                    with m.If(modes[slot] == mode - 1):
                        m.d.sync += [
                            base.eq(steps.bases.word_select(source[1], a)),
                            pixel.eq(pixels[source[0]]),
                            used.eq(inside[source[0]]),
                        ]
                else:
                    with m.If(modes[slot] == mode - 1):
                        m.d.sync += used.eq(0)
            if slot == 1 and p.pool_pixels == 2:
                with m.If(pools[slot]):
                    m.d.sync += [
                        base.eq(steps.bases.word_select(0, a)),
                        pixel.eq(second_pixel),
                        used.eq(second_inside),
                    ]
            m.d.sync += [
                address.word_select(slot, a).eq(
                    add(m, base, pixel, p.banks, f"slot_address_{slot}")
                ),
                enable[slot].eq(used),
            ]
        channels = Mux(steps.pool, p.pool_pixels * p.in_channels, steps.channels)
        meta = {
            "valid": delay(m, steps.step, META_STAGES, "valid", reset_less=False),
            "address": address,
            "enable": enable,
            "offset": delay(m, steps.byte_offset, META_STAGES, "offset"),
            "channels": delay(m, channels, META_STAGES, "channels"),
            "high": delay(m, steps.out16 & ~steps.low_pass, META_STAGES, "high"),
        }
        return {
            k: delay(m, v, self.pre - META_STAGES, f"wait_{k}", reset_less=k != "valid")
            for k, v in meta.items()
        }

    def _merge_vector(self, m: Module, meta: dict) -> dict:
        """A vector result enters where tile sums are ready; tiles and vectors never overlap."""
        p, v = self.params, self.steps.vector
        address = tree(m, v, [self.slots], "vector_slot")
        width = ADDRESS_BITS
        chosen = [
            Mux(copy, self.vector_address.word_select(slot, width) if slot < p.vector_pixels else 0,
                meta["address"].word_select(slot, width))
            for slot, copy in enumerate(address)
        ]  # fmt: skip
        return {
            "valid": meta["valid"] | self.vector_valid,
            "address": Cat(*(value[:width] for value in chosen)),
            "enable": Mux(v, Cat(1, self.vector_both), meta["enable"]),
            "offset": Mux(v, 0, meta["offset"]),
            "channels": Mux(v, p.vector_pixels * p.in_channels, meta["channels"]),
            "high": Mux(v, self.vector_high, meta["high"]),
        }

    def _requantise(self, m: Module) -> tuple[list[Signal], Signal]:
        p, steps = self.params, self.steps
        # Parameters of a mode repeat for every pixel group: two registers, as the tree has levels.
        lanes = p.requant_lanes
        modes = tree(m, steps.mode, [copies_for(lanes, 8), lanes], "param_mode")
        shared = p.vector_pixels * p.in_channels
        vectors = tree(m, steps.vector, [copies_for(shared * ACC_BITS)], "from_vector")
        facts = Cat(steps.lo, steps.hi, steps.zero)
        facts = tree(m, facts, [copies_for(lanes, FACT_LANES)], "lane_facts")
        values = []
        for column in range(lanes):
            has_column = column < p.columns
            sums = self.drain_sums.word_select(column, ACC_BITS) if has_column else Const(0)
            if column < shared:
                copy = vectors[column * len(vectors) // shared]
                sums = Mux(copy, self.vector_sums.word_select(column, ACC_BITS), sums)
            # A VECTOR has the same parameters for every channel.
            word = self.param_data.word_select(column if has_column else 0, PARAM_BITS)
            for mode in p.modes[1:] if has_column else ():
                other = self.param_data.word_select(column % p.group_channels(mode), PARAM_BITS)
                word = Mux(modes[column] == mode - 1, other, word)
            word = delay(m, word, 2, f"param_{column}")
            acc = Signal(signed(ACC_BITS), name=f"acc_{column}", reset_less=True)
            value = Signal(signed(16), name=f"value_{column}")
            m.d.sync += acc.eq(sums)
            fact = facts[column * len(facts) // lanes]
            lo, hi, zero = fact[: len(steps.lo)], fact[len(steps.lo) : -1], fact[-1]
            place(
                m,
                f"requant_{column}",
                RequantLane(),
                requantise.MODULE,
                {
                    "acc": acc,
                    "bias": word[:BIAS_BITS],
                    "mult": word[BIAS_BITS : BIAS_BITS + MULT_BITS],
                    "shift": word[BIAS_BITS + MULT_BITS :][:SHIFT_BITS],
                    "zero": zero,
                    "lo": lo.as_signed(),
                    "hi": hi.as_signed(),
                    "value": value,
                },
                expand=self.expand,
            )
            values.append(value)
        return values, delay(m, self.drain_maxima, self.requant_latency, "maxima")
