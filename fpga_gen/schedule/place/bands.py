"""Choice of the chains that run in row bands, so that the live maps fit the memory."""

from __future__ import annotations

from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.schedule.lower.work import node_macs
from fpga_gen.schedule.place.allocate import Demand, live_words
from fpga_gen.schedule.place.plan import Chain, Plan, Step, band_rows, chain_end, demands, make_plan
from fpga_gen_host.regions import InputLayout, MapLayout

BAND_CYCLES = 300  # cost of one more instruction: weights again, decode, wait
MAX_CHAIN = 4  # longer chains recompute more halo than they save


def halo_cost(qgraph: QuantGraph, params: EngineParams, chain: Chain) -> float:
    """Cycles that running a chain in bands adds: rows computed twice and extra instructions."""
    nodes = qgraph.nodes[chain.first : chain.last + 1]
    bands = band_rows(qgraph, chain)
    cost = float(BAND_CYCLES * (len(bands) - 1) * len(nodes))
    for position, node in enumerate(nodes):
        out = qgraph.tensors[node.output]
        rows = sum(b[position][1] - b[position][0] for b in bands)
        whole = node_macs(node, qgraph) / params.macs_per_cycle
        whole += out.height * out.width / params.pixels  # a max-pool has no MACs
        cost += whole * (rows / out.height - 1)
    return cost


def _peak_of(chain: Chain, plan: Plan, wanted: list[Demand]) -> int:
    """Most words live during the steps of a chain."""
    steps = [
        at
        for at, step in enumerate(plan.steps)
        if isinstance(step, Step) and chain.first <= step.index <= chain.last
    ]
    return max(sum(d.words for d in wanted if d.first <= i <= d.last) for i in steps)


def choose_chains(
    qgraph: QuantGraph,
    params: EngineParams,
    layouts: dict[str, MapLayout],
    host_input: InputLayout,
) -> tuple[Chain, ...]:
    """Chains and band counts with the least recomputation that bring the live maps below the
    capacity; the chains found so far if no further one helps (the allocation then says why)."""
    chains: tuple[Chain, ...] = ()
    while True:
        plan = make_plan(qgraph, params, layouts, chains)
        live, at = live_words(demands(plan, qgraph, host_input))
        if live <= params.words or at >= len(plan.steps):
            return chains
        step = plan.steps[at]
        assert isinstance(step, Step)
        found = _best_chain(qgraph, params, layouts, host_input, chains, step.index)
        if found is None:
            return chains
        chains += (found,)


def _best_chain(
    qgraph: QuantGraph,
    params: EngineParams,
    layouts: dict[str, MapLayout],
    host_input: InputLayout,
    chains: tuple[Chain, ...],
    index: int,
) -> Chain | None:
    """Cheapest chain around node `index` whose own steps then fit."""
    best: tuple[float, Chain] | None = None
    for first in range(max(0, index - MAX_CHAIN + 1), index + 1):
        end = chain_end(qgraph, first)
        for last in range(max(index, first + 1), min(end, first + MAX_CHAIN - 1) + 1):
            if any(c.first <= last and first <= c.last for c in chains):
                continue
            ends = {*qgraph.nodes[first].inputs, qgraph.nodes[last].output}
            if sum(layouts[name].words for name in ends) > params.words:
                continue  # both are whole, however many bands there are between them
            height = qgraph.tensors[qgraph.nodes[last].output].height
            for bands in range(2, height + 1):
                chain = Chain(first, last, bands)
                cost = halo_cost(qgraph, params, chain)
                if best is not None and cost >= best[0]:
                    break
                plan = make_plan(qgraph, params, layouts, (*chains, chain))
                if _peak_of(chain, plan, demands(plan, qgraph, host_input)) <= params.words:
                    best = (cost, chain)
                    break
    return best[1] if best else None
