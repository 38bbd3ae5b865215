"""What the cycle model decides of an integer network before it is fixed: where maps are added."""

from __future__ import annotations

from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import Graph
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.additions import sums_in_array
from fpga_gen.schedule.cycles.timing import Timing


def with_cheap_sums(
    graph: Graph, qgraph: QuantGraph, params: EngineParams, timing: Timing, zero_skipping: bool
) -> QuantGraph:
    """The integer network of a graph with its sums where they take the fewest cycles. A model whose
    maps came quantised keeps its own integers; in the array sums need zero skipping."""
    if graph.has_map_scales or not zero_skipping:
        return qgraph
    return sums_in_array(qgraph, params, timing)
