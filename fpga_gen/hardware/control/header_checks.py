"""What the decoder decides on about the header that it holds: possible or not, and of what kind."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data

from fpga_gen.contract.isa import MAX_SOURCES, MAX_TABLE, TABLE_WORDS, Op
from fpga_gen.contract.params import EngineParams


class HeaderChecks:
    """Registers of Decoder, one cycle behind the header.

    is_*: its kind. wrong_*: no unit can execute it. unknown: no opcode of the table. single: by
    field of a count, that it is 1. stored: what the STOREs before wrote is in DRAM.
    """

    def __init__(self, m: Module, p: EngineParams, header: data.View, stored: Signal) -> None:
        walk, vector = header.walk, header.vector
        self.wrong_walk, self.wrong_vector = Signal(reset_less=True), Signal(reset_less=True)
        self.wrong_page, self.wrong_table = Signal(reset_less=True), Signal(reset_less=True)
        self.unwritten = Signal(init=1, reset_less=True)  # of a FETCH: it waits for STOREs
        self.listed = Signal(reset_less=True)  # a CONV with slot lists
        if p.activations:
            table = header.table
            m.d.sync += self.wrong_table.eq(
                (table.lookup == 0) | (table.entry_words != TABLE_WORDS)
            )
        else:
            m.d.comb += self.wrong_table.eq(1)
        kinds = {
            "walk": (Op.CONV, Op.POOL), "vector": (Op.VECTOR,), "fetch": (Op.FETCH,),
            "load": (Op.LOAD,), "page": (Op.PAGE,), "table": (Op.TABLE,),
        }  # fmt: skip
        (self.is_walk, self.is_vector, self.is_fetch, self.is_load, self.is_page, self.is_table) = (
            is_kind
        ) = [Signal(reset_less=True, name=f"is_{name}") for name in kinds]
        m.d.sync += [
            flag.eq(Cat(walk.op == op for op in ops).any())
            for flag, ops in zip(is_kind, kinds.values(), strict=True)
        ]
        self.unknown = Signal(reset_less=True)
        self.single = {
            name: Signal(name=f"single_{name}", reset_less=True)
            for name in ("n_blocks", "n_taps", "list_words", "y_words", "x_words")
        }
        m.d.sync += [
            self.wrong_walk.eq(
                (walk.n_blocks == 0)
                | (walk.n_taps == 0)
                | (walk.n_tiles == 0)
                | (walk.tile_groups == 0)
                | (walk.tile_groups > p.tile_groups)
                | (walk.n_groups == 0)
                | (walk.lanes == 0)
                | ((walk.op == Op.POOL) & (walk.list_words != 0))
                | ~Array([n + 1 in p.modes for n in range(1 << len(walk.mode))])[walk.mode]
            ),
            self.wrong_vector.eq(
                (vector.n_blocks == 0)
                | (vector.n_sources == 0)
                | (vector.n_sources > MAX_SOURCES)
                | (vector.out_h == 0)
                | (vector.out_w == 0)
                | (vector.pair & (p.vector_pixels == 1))
                | (~vector.direct & ((vector.y_words == 0) | (vector.x_words == 0)))
                | (vector.y_words > MAX_TABLE // 2)
                | (vector.x_words > MAX_TABLE // 2)
            ),
            self.wrong_page.eq(header.page.words == 0),
            self.unwritten.eq(header.fetch.wait & ~stored),
            self.unknown.eq(walk.op > max(Op)),
            self.listed.eq((walk.op == Op.CONV) & (walk.list_words != 0)),
            self.single["n_blocks"].eq(walk.n_blocks == 1),
            self.single["n_taps"].eq(walk.n_taps == 1),
            self.single["list_words"].eq(walk.list_words == 1),
            self.single["y_words"].eq(vector.y_words == 1),
            self.single["x_words"].eq(vector.x_words == 1),
        ]
