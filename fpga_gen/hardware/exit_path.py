"""Exit path: everything that leaves the array, requantised, aligned and written.

Sources: a finished tile in the drain memory of the array or of the max-pool unit (one pixel lane
per step: m pixels x CO/m channels), results of the vector unit (CI accumulators per step), and
stream words of a LOAD. All end in one write step of the feature-map memory. Nothing in this path
can stall; the walker's token protocol keeps sources from overlapping.

Step pipeline (tile): drain read -> requantise -> pick byte plane -> shift to the byte offset ->
write words.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga_gen.hardware import requantise
from fpga_gen.hardware.address import add, constant, delay
from fpga_gen.hardware.config_view import header_fields
from fpga_gen.hardware.feature_memory import write_slots
from fpga_gen.hardware.loader import PARAM_ENTRIES
from fpga_gen.hardware.mac_leaf import place
from fpga_gen.hardware.params import PARAM_BITS, EngineParams
from fpga_gen.hardware.requantise import LIMIT_BITS, RequantLane
from fpga_gen.hardware.walker import TOKEN_FIELDS
from fpga_gen.isa import ADDRESS_BITS, HEADER_WORDS, Op
from fpga_gen.quant.numerics import ACC_BITS, BIAS_BITS, MULT_BITS, SHIFT_BITS

META_STAGES = 4  # cycles from a tile step to its word addresses
PACK_STAGES = 3  # from stored values to the registered write port


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
        self.group_byte_offset = Signal(4, reset_less=True)
        self.group_channels = Signal(7, reset_less=True)
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
        self.pre = max(META_STAGES, self.drain_latency)  # cycles from step to requantisation
        self._facts(m)
        self._sequence(m)
        meta = self._merge_vector(m, self._tile_meta(m))
        values, maxima = self._requantise(m, meta)
        late = {
            k: delay(m, v, self.requant_latency, f"late_{k}", reset_less=k != "valid")
            for k, v in meta.items()
        }
        self._pack(m, values, maxima, late)
        return m

    @property
    def requant_latency(self) -> int:
        """From merged sums to stored values: one input register, then the lanes."""
        return 1 + RequantLane.latency

    def _facts(self, m: Module) -> None:
        """Registers that hold for a whole instruction, and the count of steps in flight."""
        self.header = Signal(64 * HEADER_WORDS, reset_less=True)
        self.cfg = header_fields(self.header, Op.CONV)
        self.mode = Signal(2, reset_less=True)
        self.zero = Signal(reset_less=True)
        self.out16 = Signal(reset_less=True)
        self.lo = Signal(signed(LIMIT_BITS), reset_less=True)
        self.hi = Signal(signed(LIMIT_BITS), reset_less=True)
        self.step = Signal()
        depth = self.pre + self.requant_latency + PACK_STAGES + self.write_latency + 2
        in_flight = Signal(range(depth + 1))
        with m.If(self.step | self.vector_valid | self.load_valid):
            m.d.sync += in_flight.eq(depth)
        with m.Elif(in_flight != 0):
            m.d.sync += in_flight.eq(in_flight - 1)
        self.quiet = Signal()
        m.d.comb += self.quiet.eq(in_flight == 0)

    def _take_facts(self, m: Module, fields) -> None:
        m.d.sync += [self.zero.eq(fields.zero), self.out16.eq(fields.out16)]
        for limit, stored in ((self.lo, fields.lo), (self.hi, fields.hi)):
            byte = Cat(stored[:7], ~stored[7])  # stored + 128
            m.d.sync += limit.eq(Mux(fields.zero, byte, stored.as_signed()))

    def _sequence(self, m: Module) -> None:
        """Walk through tiles: pixel group, lane, byte plane."""
        p, cfg = self.params, self.cfg
        words = p.max_write_words
        self.base = [Signal(ADDRESS_BITS, name=f"base_{j}", reset_less=True) for j in range(words)]
        self.byte_offset = Signal(4, reset_less=True)
        self.channels = Signal(7, reset_less=True)
        self.pool = Signal(reset_less=True)
        self.low_pass = Signal()
        self.lane = Signal(max((p.pixels - 1).bit_length(), 1))
        self.pixel = Signal(ADDRESS_BITS)  # address of the group's lane 0 relative to the plane
        self.index = Signal(24)  # raster index (flat) or column (row mode) of the group's lane 0
        self.param = Signal(range(PARAM_ENTRIES))
        param_next = Signal(range(PARAM_ENTRIES))
        t, groups, column = Signal(7), Signal(7), Signal(13)
        pending_base = Signal(ADDRESS_BITS, reset_less=True)
        plane = Signal(ADDRESS_BITS, reset_less=True)
        base_index = Signal(range(words + 1))
        ready = Signal()  # the waiting tile's first sums are in the drain memory
        new_group = Signal()
        loading = Signal()
        load_left = Signal(24)
        last_lane, last_pass, last_step, row_end, near_end = (
            Signal(name=n) for n in ("last_lane", "last_pass", "last_step", "row_end", "near_end")
        )
        together = Signal(range(3))  # pixels per step
        next_base = add(m, pending_base, plane, p.banks, "next_base")
        next_pixel = add(
            m, self.pixel, Mux(row_end, cfg.out_row_step, cfg.out_step), p.banks, "next_pixel"
        )
        load_pixel = add(m, self.pixel, constant(1, p.banks), p.banks, "load_pixel")
        margin = self.safe_steps // p.pixels
        lane_lag = self.pre - self.drain_latency
        m.d.comb += [
            row_end.eq(cfg.row_mode & (column == cfg.groups_per_row - 1)),
            together.eq(Mux(self.pool, p.pool_pixels, 1)),
            last_lane.eq((self.lane + together == p.pixels) | (self.lane + together >= cfg.lanes)),
            last_pass.eq(~self.out16 | self.low_pass),
            last_step.eq(last_lane & last_pass & (t == groups - 1)),
            near_end.eq(t + Mux(self.out16, margin // 2, margin) >= groups),
            self.drain_t.eq(delay(m, t, lane_lag, "drain_t")),
            self.drain_lane.eq(delay(m, self.lane, lane_lag, "drain_lane")),
        ]
        with m.If(self.tile_done):
            m.d.sync += ready.eq(1)

        def take_params() -> None:
            """Go on to the next group's parameters and free the previous group's."""
            m.d.sync += [
                self.param.eq(param_next),
                param_next.eq(param_next + 1),
                self.param_held.eq(1),
            ]
            m.d.comb += self.param_release.eq(self.param_held)

        with m.FSM(name="exit"):
            with m.State("WAIT"):
                m.d.comb += [
                    self.idle.eq(self.quiet & ~self.token_valid),
                    self.drain_free.eq(~self.token_valid),
                ]
                with m.If(self.token_valid & ready & (~self.token_new_instruction | self.quiet)):
                    m.d.comb += self.token_ready.eq(1)
                    m.d.sync += [
                        ready.eq(0),
                        t.eq(0),
                        groups.eq(self.token_groups),
                        self.header.eq(self.token_header),
                        self.pool.eq(self.token_pool),
                        self.lane.eq(0),
                        self.low_pass.eq(0),
                        pending_base.eq(self.token_base),
                        new_group.eq(self.token_new_group),
                        base_index.eq(0),
                        loading.eq(0),
                    ]
                    with m.If(self.token_new_instruction):
                        fields = header_fields(self.token_header, Op.CONV)
                        self._take_facts(m, fields)
                        m.d.sync += self.mode.eq(fields.mode)
                    m.next = "STEP"
                    with m.If(self.token_new_group):
                        m.d.sync += plane.eq(header_fields(self.token_header, Op.CONV).out_plane)
                        m.next = "BASES"
                with m.Elif(self.vector_start):
                    self._take_facts(m, header_fields(self.vector_header, Op.VECTOR))
                    m.d.sync += [self.mode.eq(0), self.pool.eq(0)]
                    take_params()
                with m.Elif(self.load_start):
                    fields = header_fields(self.load_header, Op.LOAD)
                    m.d.sync += [
                        pending_base.eq(fields.base),
                        plane.eq(fields.stride),
                        base_index.eq(0),
                        load_left.eq(fields.words),
                        loading.eq(1),
                        new_group.eq(1),
                    ]
                    m.next = "BASES"
            with m.State("BASES"):  # addresses of the planes a step can touch
                for j in range(words):
                    with m.If(base_index == j):
                        m.d.sync += self.base[j].eq(pending_base)
                m.d.sync += [pending_base.eq(next_base), base_index.eq(base_index + 1)]
                with m.If(base_index == words - 1):
                    m.d.sync += [self.pixel.eq(0), self.index.eq(0), column.eq(0)]
                    with m.If(loading):
                        m.next = "LOAD"
                    with m.Else():
                        with m.If(~self.pool):
                            take_params()
                        m.d.sync += [
                            self.byte_offset.eq(self.group_byte_offset),
                            self.channels.eq(self.group_channels),
                        ]
                        m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += [self.step.eq(1), self.drain_free.eq(near_end)]
                m.d.sync += self.low_pass.eq(~last_pass)
                with m.If(last_pass):
                    m.d.sync += self.lane.eq(self.lane + together)
                    with m.If(last_lane):
                        m.d.sync += [
                            self.lane.eq(0),
                            t.eq(t + 1),
                            self.pixel.eq(next_pixel),
                            self.index.eq(Mux(row_end, 0, self.index + cfg.lanes)),
                            column.eq(Mux(row_end, 0, column + 1)),
                        ]
                with m.If(last_step):
                    m.next = "WAIT"
            with m.State("LOAD"):
                m.d.comb += self.load_ready.eq(1)
                with m.If(self.load_valid):
                    m.d.sync += [self.pixel.eq(load_pixel), load_left.eq(load_left - 1)]
                    with m.If(load_left == 1):
                        m.d.sync += loading.eq(0)
                        m.next = "WAIT"
        m.d.comb += self.load_busy.eq(loading)
        # Latched with the token, used when the group's planes are known.
        with m.If(self.token_valid & self.token_ready):
            m.d.sync += [
                self.group_byte_offset.eq(self.token_byte_offset),
                self.group_channels.eq(self.token_channels),
            ]

    def _slot_source(self, mode: int, slot: int) -> tuple[int, int] | None:
        """(pixel group, word) that a write slot serves in a mode; None: unused."""
        group, word = divmod(slot, self.params.write_words(mode))
        return (group, word) if group < mode else None

    def _tile_meta(self, m: Module) -> dict:
        """Addresses and facts of a tile step, `pre` cycles after it was issued."""
        p, cfg = self.params, self.cfg
        # Stage 1: this lane's pixel, and which pixel groups are inside the map.
        lane_pixel = Signal(ADDRESS_BITS, reset_less=True)
        inside = Signal(p.max_mode, reset_less=True)
        limit = Mux(cfg.row_mode, cfg.row_width, cfg.pixels)
        valid_1 = Signal()
        m.d.sync += [
            valid_1.eq(self.step),
            lane_pixel.eq(add(m, self.pixel, self.lane, p.banks, "lane_pixel_sum")),
        ]
        for group in range(p.max_mode):
            m.d.sync += inside[group].eq(
                (self.index + self.lane + group * p.pixels < limit) & (self.mode >= group)
            )
        second_inside = Signal(reset_less=True)  # the second pixel of a max-pool step
        if p.pool_pixels == 2:
            last = self.lane + 1
            m.d.sync += second_inside.eq(
                self.pool & (self.index + last < limit) & (last < cfg.lanes)
            )
        # Stage 2: the low byte plane of a 16-bit map lies elsewhere.
        plane_pixel = Signal(ADDRESS_BITS, reset_less=True)
        low = delay(m, Mux(self.low_pass, cfg.out_low, 0), 1, "low")
        m.d.sync += plane_pixel.eq(add(m, lane_pixel, low, p.banks, "plane_pixel_sum"))
        # Stage 3: the pixel of every group.
        pixels = []
        for group in range(p.max_mode):
            pixel = Signal(ADDRESS_BITS, name=f"pixel_{group}", reset_less=True)
            m.d.sync += pixel.eq(
                add(
                    m,
                    plane_pixel,
                    constant(group * p.pixels, p.banks),
                    p.banks,
                    f"pixel_sum_{group}",
                )
            )
            pixels.append(pixel)
        second_pixel = Signal(ADDRESS_BITS, reset_less=True)
        m.d.sync += second_pixel.eq(
            add(m, plane_pixel, constant(1, p.banks), p.banks, "second_pixel_sum")
        )
        inside_late = delay(m, inside, 2, "inside_late")
        second_late = delay(m, second_inside, 2, "second_late")
        # Stage 4: word addresses of every write slot.
        address = Signal(self.slots * ADDRESS_BITS, reset_less=True)
        enable = Signal(self.slots, reset_less=True)
        for slot in range(self.slots):
            base, pixel, used = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal()
            for mode in p.modes:
                source = self._slot_source(mode, slot)
                if source is not None:
                    with m.If(self.mode == mode - 1):
                        m.d.comb += [
                            base.eq(self.base[source[1]]),
                            pixel.eq(pixels[source[0]]),
                            used.eq(inside_late[source[0]]),
                        ]
            if slot == 1 and p.pool_pixels == 2:
                with m.If(self.pool):
                    m.d.comb += [
                        base.eq(self.base[0]),
                        pixel.eq(second_pixel),
                        used.eq(second_late),
                    ]
            m.d.sync += [
                address.word_select(slot, ADDRESS_BITS).eq(
                    add(m, base, pixel, p.banks, f"slot_address_{slot}")
                ),
                enable[slot].eq(used),
            ]
        meta = {
            "valid": delay(m, valid_1, META_STAGES - 1, "valid", reset_less=False),
            "address": address,
            "enable": enable,
            "offset": delay(m, self.byte_offset, META_STAGES, "offset"),
            "channels": delay(
                m,
                Mux(self.pool, p.pool_pixels * p.in_channels, self.channels),
                META_STAGES,
                "channels",
            ),
            "high": delay(m, self.out16 & ~self.low_pass, META_STAGES, "high"),
        }
        # The parameter memory and the mode selection take two cycles.
        m.d.comb += self.param_index.eq(
            delay(m, self.param, self.pre - 2, "param", reset_less=False)
        )
        return {
            k: delay(m, v, self.pre - META_STAGES, f"wait_{k}", reset_less=k != "valid")
            for k, v in meta.items()
        }

    def _merge_vector(self, m: Module, meta: dict) -> dict:
        """A vector result enters where tile sums are ready."""
        p = self.params
        v = self.vector_valid
        self.from_vector = v
        return {
            "valid": meta["valid"] | v,
            "address": Mux(v, self.vector_address, meta["address"]),
            "enable": Mux(v, Cat(1, self.vector_both), meta["enable"]),
            "offset": Mux(v, 0, meta["offset"]),
            "channels": Mux(v, p.vector_pixels * p.in_channels, meta["channels"]),
            "high": Mux(v, self.vector_high, meta["high"]),
        }

    def _requantise(self, m: Module, meta: dict) -> tuple[list[Signal], Signal]:
        p = self.params
        # Parameters of a mode repeat for every pixel group.
        chosen = Signal(p.columns * PARAM_BITS, reset_less=True)
        for mode in p.modes:
            with m.If(self.mode == mode - 1):
                width = p.group_channels(mode) * PARAM_BITS
                m.d.sync += chosen.eq(Cat(*[self.param_data[:width]] * mode))
        params = Signal(p.columns * PARAM_BITS, reset_less=True)
        m.d.sync += params.eq(chosen)
        values = []
        for column in range(p.columns):
            sums = self.drain_sums.word_select(column, ACC_BITS)
            if column < p.vector_pixels * p.in_channels:
                sums = Mux(self.from_vector, self.vector_sums.word_select(column, ACC_BITS), sums)
            acc = Signal(signed(ACC_BITS), name=f"acc_{column}", reset_less=True)
            value = Signal(signed(16), name=f"value_{column}")
            m.d.sync += acc.eq(sums)
            word = params.word_select(column, PARAM_BITS)
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
                    "zero": self.zero,
                    "lo": self.lo,
                    "hi": self.hi,
                    "value": value,
                },
                expand=self.expand,
            )
            values.append(value)
        maxima = delay(m, self.drain_maxima, self.requant_latency, "maxima")
        return values, maxima

    def _pack(self, m: Module, values: list[Signal], maxima, late: dict) -> None:
        p, ci = self.params, self.params.in_channels
        # Stage 1: one byte per channel. Low bytes are stored minus 128.
        pooled = p.pool_pixels * ci
        bytes_ = Signal(max(p.columns, pooled) * 8, reset_less=True)
        for column in range(max(p.columns, pooled)):
            byte = Const(0, 8)
            if column < p.columns:
                low = values[column][:8] ^ Mux(self.out16, 0x80, 0)
                byte = Mux(late["high"], values[column][8:], low)
            if column < pooled:
                byte = Mux(self.pool, maxima.word_select(column, 8), byte)
            m.d.sync += bytes_.word_select(column, 8).eq(byte)
        late = {k: delay(m, v, 1, f"pack_{k}", reset_less=k != "valid") for k, v in late.items()}
        # Stage 2: shift every pixel's channels to the byte offset.
        windows = []
        for group in range(p.max_mode):
            words = max(p.write_words(mode) for mode in p.modes if mode > group)
            source = Signal(words * p.word_bits, name=f"pixel_bytes_{group}")
            for mode in p.modes:
                if mode > group:
                    width = p.group_channels(mode) * 8
                    if mode == 1:
                        width = len(bytes_)
                    with m.If(self.mode == mode - 1):
                        m.d.comb += source.eq(bytes_[group * width : (group + 1) * width])
            window = Signal(words * p.word_bits, name=f"window_{group}", reset_less=True)
            m.d.sync += window.eq(_shift_bytes(m, source, late["offset"], f"shift_{group}"))
            windows.append(window)
        span = p.max_write_words * ci
        used = Signal(span)
        mask = Signal(span, reset_less=True)
        m.d.comb += used.eq(Cat(*(late["channels"] > i for i in range(span))))
        m.d.sync += mask.eq((used << late["offset"])[:span])
        late = {k: delay(m, v, 1, f"steer_{k}", reset_less=k != "valid") for k, v in late.items()}
        # Stage 3: words to write slots; LOAD words take the slots directly.
        load = Signal()
        m.d.comb += load.eq(self.load_valid & self.load_ready)
        for slot in range(self.slots):
            data, enables, address = (
                Signal(p.word_bits, name=f"slot_data_{slot}"),
                Signal(ci, name=f"slot_bytes_{slot}"),
                Signal(ADDRESS_BITS, name=f"slot_to_{slot}"),
            )
            valid = Signal(name=f"slot_valid_{slot}")
            for mode in p.modes:
                source = self._slot_source(mode, slot)
                if source is None:
                    continue
                group, word = source
                with m.If(self.mode == mode - 1):
                    m.d.comb += [
                        data.eq(windows[group].word_select(word, p.word_bits)),
                        enables.eq(mask[word * ci : (word + 1) * ci]),
                    ]
            m.d.comb += [
                valid.eq(late["valid"] & late["enable"][slot] & enables.any()),
                address.eq(late["address"].word_select(slot, ADDRESS_BITS)),
            ]
            if slot < p.load_words:
                loaded = add(m, self.base[slot], self.pixel, p.banks, f"load_address_{slot}")
                with m.If(load):
                    m.d.comb += [
                        data.eq(self.load_data.word_select(slot, p.word_bits)),
                        enables.eq(~Const(0, ci)),
                        valid.eq(1),
                        address.eq(loaded),
                    ]
            m.d.sync += [
                self.write_valid[slot].eq(valid),
                self.write_address.word_select(slot, ADDRESS_BITS).eq(address),
                self.write_data.word_select(slot, p.word_bits).eq(data),
                self.write_bytes.word_select(slot, ci).eq(enables),
            ]


def _shift_bytes(m: Module, value: Signal, amount, name: str) -> Signal:
    """value << (8 * amount), one named stage per bit of the amount."""
    width = len(value)
    for bit in range(len(amount)):
        step = 8 << bit
        if step >= width:
            break
        stage = Signal(width, name=f"{name}_{bit}")
        m.d.comb += stage.eq(Mux(amount[bit], Cat(Const(0, step), value[: width - step]), value))
        value = stage
    return value
