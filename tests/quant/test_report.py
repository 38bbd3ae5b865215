import pytest

from fpga_gen.contract.column_kinds import SP2_KIND
from fpga_gen.contract.params import EngineParams
from fpga_gen.graph.ir import conv_macs
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.quant.report import layer_facts, mac_share
from tests.engines import SMALL
from tests.quant.networks import all_nodes, images


def test_shares_and_widths_of_a_mixed_network():
    graph = all_nodes()
    qgraph = quantise(graph, SMALL, images(4), options=QuantOptions(wide_tensors=("q",)))
    facts = layer_facts(qgraph)
    assert 0 < mac_share(SP2_KIND, facts) == pytest.approx(qgraph.facts["sp2_mac_share"])
    assert [f.name for f in facts if f.wide] == ["grouped"]


def test_macs_count_resolved_groups():
    graph = all_nodes()
    facts = layer_facts(quantise(graph, EngineParams(sp2_columns=0), images(1)))
    assert mac_share(SP2_KIND, facts) == 0
    assert all(sum(f.shares.values()) == 1 for f in facts)
    # depthwise 12 -> 12 and the two groups of 'grouped' run dense
    extra = 12 * 11 * 9 * 42 + 8 * 6 * 9 * 42
    assert sum(f.macs for f in facts) == conv_macs(graph) + extra
