"""Sizes of the loader's records to come, from indices that its machine counts."""

from __future__ import annotations

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from fpga_gen.contract.isa import width
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.slot_layout import Half, slot_run
from fpga_gen.contract.weight_stream import HEAD_GRANULES
from fpga_gen.hardware.loader.joints import KIND_VECTOR, wraps


class Place(NamedTuple):
    """A record and its place in the assembly. granules: of the record; filled: those and as many
    as fill all but one of a word; first: the first one in its word; row: that word."""

    granules: Value
    filled: Value
    first: Value
    row: Value


class RecordSizes:
    """Registers of LoaderControl: what the next slot holds is known while the one before is read,
    the subgroups of a group while the one before is.

    group, slot: indices of those that begin next, written by the machine, as is `subgroups`, of the
    group that is read. next_final, next_subgroups: of `group`. end: last slot of a group in the
    stream. repeat_first: first slot to repeat, if has_repeats. at_end, at_repeat: `slot` is it.
    is_half, is_high: of `slot`. param_place: of the next parameters, with their head; they have one
    place. last_group: index of the command's last one.
    """

    def __init__(
        self, m: Module, params: EngineParams, command: data.View, last_group: Signal
    ) -> None:
        self.params = params
        subgroups, slots = range(params.subgroups + 1), width("slots")
        self.group = Signal(width("n_groups"), reset_less=True)
        self.slot = Signal(slots, reset_less=True)
        self.subgroups, self.next_subgroups = (
            Signal(subgroups, name=n, reset_less=True) for n in ("subgroups", "next_subgroups")
        )
        self.end, self.repeat_first = (
            Signal(slots, name=n, reset_less=True) for n in ("end", "repeat_first")
        )
        self.next_final, self.has_repeats, self.is_half, self.is_high = (
            Signal(name=n, reset_less=True)
            for n in ("next_final", "has_repeats", "is_half", "is_high")
        )
        self.at_end, self.at_repeat = (
            Signal(name=n, reset_less=True) for n in ("at_end", "at_repeat")
        )
        modes = [n if n in params.modes else 1 for n in range(1, params.max_mode + 1)]
        m.d.sync += [
            self.next_final.eq(self.group == last_group),
            self.next_subgroups.eq(
                Mux(
                    self.next_final,
                    command.last_subgroups,
                    Array([params.subgroups // x for x in modes])[command.mode],
                )
            ),
            self.end.eq(command.slots - command.repeats - 1),
            self.repeat_first.eq(command.slots - (command.repeats << 1)),
            # A slot takes a cycle at least: known when the next one begins.
            self.at_end.eq(self.slot == self.end),
            self.at_repeat.eq(self.slot == self.repeat_first),
            self.has_repeats.eq(command.repeats != 0),
            self.is_half.eq(self.slot >= command.half_from),
            self.is_high.eq(self.slot >= command.high_from),
        ]
        whole = params.param_granules(1)
        known = [params.some_param_granules(self._known(n)) for n in range(1 << self._bits)]
        sizes = [*known, *(HEAD_GRANULES + granules for granules in known)]
        index, vector = Cat(self.next_subgroups, command.listed), command.kind == KIND_VECTOR
        self.param_place = Place(
            Mux(vector, whole, Array(sizes)[index]),
            Mux(vector, self._filled(whole), Array(map(self._filled, sizes))[index]),
            Mux(command.listed, 0, HEAD_GRANULES),
            Const(0, 1),
        )
        self.kind = Cat(self.subgroups, self.is_half, self.is_high)
        self.runs = [
            slot_run(params, self._known(i % (1 << self._bits)), self._half(i))
            for i in range(1 << len(self.kind))
        ]

    @property
    def _bits(self) -> int:
        return len(self.subgroups)

    def _known(self, subgroups: int) -> int:
        """The nearest number that there is."""
        return min(max(subgroups, 1), self.params.subgroups)

    def _half(self, kind: int) -> Half:
        """Which half a slot holds, from the two highest bits of its kind: is_half, is_high."""
        is_half, is_high = kind >> self._bits & 1, kind >> self._bits + 1
        return Half.HIGH if is_high else Half.LOW if is_half else Half.BOTH

    def _filled(self, granules: int) -> int:
        return granules + self.params.stream_granules - 1

    @property
    def slot_place(self) -> Place:
        """Of the next slot."""
        per_word = self.params.stream_granules
        return Place(
            *(
                Array(values)[self.kind]
                for values in (
                    [r.granules for r in self.runs],
                    [self._filled(r.granules) for r in self.runs],
                    [r.first % per_word for r in self.runs],
                    [r.first // per_word for r in self.runs],
                )
            )
        )

    def wrap(self) -> Value:
        """Which end of the next slot lies in front of it."""
        whole = ~self.is_half & ~self.is_high
        return Cat((self.subgroups == n) & whole for n in wraps(self.params))
