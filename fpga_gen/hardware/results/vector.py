"""Vector unit: resampling, elementwise sums and products, one read of the memory per cycle.

A read returns neighbouring words, so a step computes two neighbouring output pixels where the
instruction says `pair`. For every block and output pixel: LINEAR acc = sum of weight * value over
sources and taps (weight = wy * wx from the axis tables, or the source's factor when `direct`),
MUL acc = value0 * value1. A 16-bit source takes two reads (high, low byte plane) per tap. Results
go to the exit path as CI accumulators per pixel; a 16-bit output takes two exit steps.
"""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from fpga_gen.contract.params import EngineParams
from fpga_gen.hardware.common.joints import Issue, MemoryRead, TableWrite, VectorResult
from fpga_gen.hardware.results.vector_fetch import VectorFetch
from fpga_gen.hardware.results.vector_sums import VectorSums
from fpga_gen.hardware.results.vector_walk import VectorWalk


class VectorUnit(wiring.Component):
    """See module docstring; vector_walk.py issues reads, vector_fetch.py makes them, vector_sums.py
    computes.

    Members:
        issue: start of a VECTOR. tables: its sources and tables, written while not busy.
        busy: Out, from the start until the last result has left.
        read: to the feature-map memory. result: to the exit path (no back-pressure there).
    """

    def __init__(self, params: EngineParams, *, expand: bool = False) -> None:
        self.params = params
        self.expand = expand
        super().__init__(
            {
                "issue": In(Issue()),
                "tables": In(TableWrite()),
                "busy": Out(1),
                "read": Out(MemoryRead(params, params.vector_words)),
                "result": Out(VectorResult(params)),
            }
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.walk = walk = VectorWalk(self.params)
        m.submodules.fetch = fetch = VectorFetch(self.params, expand=self.expand)
        m.submodules.sums = sums = VectorSums(self.params)
        connect(m, flipped(self.issue), walk.issue)
        connect(m, flipped(self.tables), walk.tables, fetch.tables)
        connect(m, flipped(self.result), sums.result)
        m.d.comb += [
            self.busy.eq(walk.busy),
            fetch.facts.eq(walk.facts),
            fetch.issued.eq(walk.issued),
            self.read.valid.eq(fetch.read_valid),
            self.read.address.eq(fetch.read_address),
            sums.facts.eq(walk.facts),
            sums.term.eq(fetch.term),
            sums.words.eq(self.read.data),
        ]
        return m
