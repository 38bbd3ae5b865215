"""MAC array: P*m pixels x CI inputs x CO/m channels per cycle, with its partial sums.

Pipeline (cycle of the beat = 0):
    -2    `switch` and `mode` come in: they have many loads
    1     inputs registered; the weight stage is read (`stage_hold`)
    2     activations selected by mode; columns see `switch`
    ...   columns, those of each kind `latency` cycles (columns.py)
    ...   accumulators; `done` after `latency`
All kinds of column obey one contract (act_delay, latency, switch with the weights); the beat is
delayed for each kind by its own latency, so none waits for another.
"""

from __future__ import annotations

from collections.abc import Iterator

from amaranth.hdl import Cat, Module, Signal, Value, ValueLike
from amaranth.lib.wiring import In, Out

from fpga_gen.contract import modules
from fpga_gen.contract.latencies import ARRAY_LEAD, DRAIN_LATENCY, STAGE_HOLD
from fpga_gen.contract.numerics import ACC_BITS
from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.array import accumulators, mac_weights
from fpga_gen.hardware.array.accumulators import Accumulators
from fpga_gen.hardware.array.columns import Columns, column_kinds
from fpga_gen.hardware.array.mac_weights import LaneSkew, SubgroupWeights
from fpga_gen.hardware.common.address import delay_line
from fpga_gen.hardware.common.fan_out import LOADS, copies, copies_for, tree
from fpga_gen.hardware.common.joints import ArrayBeat, Done, Drain
from fpga_gen.hardware.common.leaf import (
    Leaf,
    emit_leaves,
    fields,
    place,
    read_lane,
)

MODULE = modules.ARRAY
SELECT_CYCLES = 2  # beat to the columns' `switch`


class MacArray(Leaf):
    """Dot products of every column and pixel lane, accumulated over the beats of a tile.

    One beat per cycle, no back-pressure. In mode m, physical subgroup s works for pixel group
    g = s // (S/m), lane j of it on input lane g*P + j, with logical subgroup s mod (S/m) of the
    weight stage. `mode` belongs to the beat and may change with any beat that has `switch`.

    Members (all registered or registered first inside):
        beat: `act`: signed bytes, lane-major, channel 0 lowest; `valid`, `t`, `first`, `shift`,
            `last`: see `Accumulators`; `switch`: from this beat on the weights in `stage` are
            used, never without such a beat; `mode`: m - 1.
        stage: In(S * sub_weight_bits), logical subgroups, 0 lowest; in each, for every input the
            code words of the columns, kind by kind. Must be valid `stage_hold` cycles after the
            switch beat (read in that one cycle only).
        done: a `last` beat `latency` cycles after its input: from this cycle on a drain request
            for that t returns its sums.
        drain: one request per cycle; `data`: Out(32 * CO), physical columns 0.. of that lane,
            `drain_latency` cycles later, with two exit pixels of the next lane behind them. In mode
            m column block [g*CO/m, (g+1)*CO/m) is input lane g*P + lane.
        fast_clk: In(1), twice the engine's clock. (with double_clock)

    A request for an old t is safe up to `overwrite_latency` cycles after the next `last` beat of
    the same t entered. Two beats of one t are at least `recurrence` cycles apart, two switches at
    least `slot_min` cycles.
    """

    lead = ARRAY_LEAD
    stage_hold = STAGE_HOLD
    recurrence = Accumulators.recurrence
    drain_latency = 1 + Accumulators.read_latency + 1  # copies of the request, RAM, lane

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        assert self.drain_latency == DRAIN_LATENCY
        assert params.slot_minimum >= max(self.slot_min, self.stage_hold + 4)
        super().__init__(
            {
                "beat": In(ArrayBeat(params)),
                "stage": In(params.sub_weight_bits * params.subgroups),
                "done": Out(Done(params)),
                "drain": In(Drain.sums(params)),
            }
            | ({"fast_clk": In(1)} if params.double_clock else {})
        )

    @property
    def _kind_latencies(self) -> list[int]:
        return [kind.latency for kind in column_kinds(self.params)]

    @property
    def latency(self) -> int:
        """Cycles from a `last` beat to `done`."""
        return SELECT_CYCLES + max(self._kind_latencies) + Accumulators.write_latency - 1

    @property
    def overwrite_latency(self) -> int:
        """A drain request up to this many cycles after a new `last` beat still reads the old t."""
        return SELECT_CYCLES + min(self._kind_latencies) + Accumulators.write_latency - 2

    @property
    def slot_min(self) -> int:
        """Smallest distance of two switches."""
        return max(kind.hold for kind in column_kinds(self.params))

    @property
    def _selectors(self) -> int:
        """Number of mode multiplexers of up to `LOADS` bits."""
        s_count, modes = self.params.subgroups, self.params.modes
        lanes = {tuple(s // (s_count // k) for k in modes) for s in range(s_count)}
        weights = [tuple(s % (s_count // k) for k in modes) for s in range(s_count)]
        words = self.params.pixels * copies_for(self.params.word_bits)
        return words * sum(len(set(x)) > 1 for x in lanes) + copies_for(
            self.params.sub_weight_bits
        ) * sum(len(set(x)) > 1 for x in weights)

    def _by_mode(self, m: Module, modes: Iterator[Value], choices: list[Value]) -> Value:
        """choices[i] for modes[i], by the next copies of the mode; a plain wire where every mode
        takes the same one."""
        if all(c is choices[0] for c in choices):
            return choices[0]
        parts = []
        for at in range(0, len(choices[0]), LOADS):
            cut = [c[at : at + LOADS] for c in choices]
            part = Signal(len(cut[0]))
            with m.Switch(next(modes)):
                for number, choice in zip(self.params.modes[1:], cut[1:], strict=True):
                    with m.Case(number - 1):
                        m.d.comb += part.eq(choice)
                with m.Default():
                    m.d.comb += part.eq(cut[0])
            parts.append(part)
        return Cat(parts)

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.params
        act = Signal(len(self.beat.act), reset_less=True)
        m.d.sync += act.eq(self.beat.act)
        # Beat at cycle 0: copies of `switch` for subgroups at 0 and for lanes at 1, of `mode` at 1.
        at_minus_1 = tree(m, self.beat.switch, [2], "switch_early")
        captures = tree(m, at_minus_1[0], [p.subgroups], "capture")
        lane_switches = tree(m, at_minus_1[1], [2, p.pixels], "lane_switch")
        selectors = self._selectors
        modes = iter(tree(m, self.beat.mode, [2, -(-selectors // 8), selectors], "mode"))

        weights = self._weights(m, modes, captures)
        lanes = self._lanes(m, modes, fields(act, p.word_bits))
        beats = self._beats(m)
        kinds = column_kinds(p, fast_clk=getattr(self, "fast_clk", None), expand=self.expand)
        requests = copies(m, Cat(self.drain.t, self.drain.lane), p.pixels, "drain")
        results = []
        for j, (request, switch) in enumerate(zip(requests, lane_switches, strict=True)):
            t, lane = request[: len(self.drain.t)], request[len(self.drain.t) :]
            words = []
            for kind in kinds:
                dots = kind.place(m, j, lanes, weights, switch)
                words.append(Signal(ACC_BITS * kind.columns, name=f"{kind.name}_drain_{j}"))
                at = SELECT_CYCLES + kind.latency - Accumulators.control_lead
                place(
                    m,
                    f"{kind.name}_sums_{j}",
                    Accumulators(kind.columns, p.tile_groups),
                    accumulators.module_name(kind.columns),
                    {
                        **self._copied(m, beats[at - 1], f"{kind.name}_{j}"),
                        "dots": dots,
                        "drain_en": lane == j if p.exit_pixels == 1 else lane[1:] == j >> 1,
                        "drain_t": t,
                        "drain": words[-1],
                    },
                    expand=self.expand,
                )
            results.append(self._in_order(kinds, words))
        m.d.comb += self.drain.data.eq(self._drained(m, results))
        done = beats[self.latency]
        m.d.comb += [self.done.valid.eq(done["valid"] & done["last"]), self.done.t.eq(done["t"])]
        return m

    def _drained(self, m: Module, results: list[Value]) -> Value:
        """Sums of the lane that was asked for, and of the next one with two exit pixels."""
        lane, cycles = self.drain.lane, self.drain_latency - 1
        if self.params.exit_pixels == 1:
            return read_lane(m, lane, results, cycles)
        even = read_lane(m, lane[1:], results[::2], cycles, "even")
        return Cat(even, read_lane(m, lane[1:], results[1::2], cycles, "odd"))

    def _copied(self, m: Module, beat: dict[str, Value], label: str) -> dict[str, Value]:
        """The beat one cycle later, in registers for one block of accumulators."""
        return {key: copies(m, value, 1, f"{key}_{label}")[0] for key, value in beat.items()}

    def _beats(self, m: Module) -> list[dict[str, Value]]:
        """The accumulators' part of the beat, n cycles late."""
        valid = delay_line(m, "valid", self.beat.valid, self.latency)
        out = [
            {
                "t": self.beat.t,
                "first": self.beat.first,
                "shift8": self.beat.shift,
                "last": self.beat.last,
            }
        ]
        for n in range(1, self.latency + 1):
            late = {
                key: Signal(len(value), name=f"{key}_{n}", reset_less=True)
                for key, value in out[-1].items()
            }
            m.d.sync += [late[key].eq(out[-1][key]) for key in late]
            out.append(late)
        return [{"valid": v, **rest} for v, rest in zip(valid, out, strict=True)]

    def _weights(self, m: Module, modes, captures: list[Signal]) -> list[dict[str, Value]]:
        """Active weights per physical subgroup."""
        p = self.params
        logical = fields(self.stage, p.sub_weight_bits)
        out = []
        for s in range(p.subgroups):
            raw = self._by_mode(m, modes, [logical[s % (p.subgroups // k)] for k in p.modes])
            leaf = SubgroupWeights(p)
            pins: dict[str, ValueLike] = {"raw": raw, "capture": captures[s]}
            for pin in leaf.signature.members:
                if pin not in pins:
                    pins[pin] = Signal(len(getattr(leaf, pin)), name=f"{pin}_weights_{s}")
            place(m, f"weights_{s}", leaf, mac_weights.WEIGHTS, pins, expand=self.expand)
            out.append(pins)
        return out

    def _lanes(self, m: Module, modes, act: list[Value]) -> list[list[dict[str, Value]]]:
        """Activations of [physical subgroup][lane]; subgroups with the same source share them."""
        p = self.params
        sources: dict[tuple[int, ...], list[dict[str, Value]]] = {}
        out = []
        for s in range(p.subgroups):
            groups = tuple(s // (p.subgroups // k) for k in p.modes)
            if groups not in sources:
                label = "".join(map(str, groups))
                sources[groups] = []
                for j in range(p.pixels):
                    chosen = Signal(p.word_bits, name=f"act_{label}_{j}", reset_less=True)
                    m.d.sync += chosen.eq(
                        self._by_mode(m, modes, [act[g * p.pixels + j] for g in groups])
                    )
                    pins = {
                        pin: Signal(p.word_bits, name=f"{pin}_{label}_{j}")
                        for pin in ("skewed", "delayed")
                    }
                    place(
                        m,
                        f"skew_{label}_{j}",
                        LaneSkew(p),
                        mac_weights.SKEW,
                        {"act": chosen, **pins},
                        expand=self.expand,
                    )
                    sources[groups].append(pins)
            out.append(sources[groups])
        return out

    def _in_order(self, kinds: list[Columns], words: list[Value]) -> Value:
        """Sums of one lane in physical column order: subgroup by subgroup, kind by kind."""
        sums = [fields(word, ACC_BITS) for word in words]
        return Cat(
            sums_of_kind[s * kind.sub_columns : (s + 1) * kind.sub_columns]
            for s in range(self.params.subgroups)
            for kind, sums_of_kind in zip(kinds, sums, strict=True)
        )


def leaves(params: EngineParams) -> dict[str, Leaf]:
    """The array and all its leaves, by module name."""
    found: dict[str, Leaf] = {MODULE: MacArray(params)}
    for kind in column_kinds(params):
        found |= kind.leaves()
    return {**found, **mac_weights.leaves(params), **accumulators.leaves(params)}


def emit(params: EngineParams) -> dict[str, str]:
    """{module name: Verilog} of the array and all its leaves."""
    texts = emit_leaves(leaves(params))
    for kind in column_kinds(params):
        texts |= kind.twins()
    return texts
