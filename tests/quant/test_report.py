import numpy as np
import pytest

from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import QuantError
from fpga_gen.graph.ir import conv_macs
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from fpga_gen.quant.report import layer_facts, quant_report
from tests.engines import SMALL
from tests.quant.networks import all_nodes, images


def test_report_of_a_mixed_network():
    graph = all_nodes()
    qgraph = quantise(graph, SMALL, images(4), options=QuantOptions(wide_tensors=("q",)))
    report = quant_report(graph, qgraph, images(2, seed=1))
    assert report.images == 2
    assert report.sp2_mac_share == pytest.approx(qgraph.facts["sp2_mac_share"])
    assert report.wide_tensors == ("q",)
    grouped = next(f for f in report.layers if f.name == "grouped")
    assert grouped.wide
    assert report.wide_mac_share == pytest.approx(grouped.macs / sum(f.macs for f in report.layers))
    assert {t.name for t in report.tensors} == set(qgraph.tensors)
    by_name = {t.name: t for t in report.tensors}
    assert by_name["q"].format == "i16"
    assert report.output_sqnr_db == {o: by_name[o].sqnr_db for o in graph.outputs}
    assert by_name["image"].sqnr_db > 30
    assert 12 < by_name["h"].sqnr_db < by_name["a"].sqnr_db


def test_macs_count_resolved_groups():
    graph = all_nodes()
    facts = layer_facts(quantise(graph, EngineParams(sp2_columns=0), images(1)))
    assert all(f.sp2_share == 0 for f in facts)
    # depthwise 12 -> 12 and the two groups of 'grouped' run dense
    extra = 12 * 11 * 9 * 42 + 8 * 6 * 9 * 42
    assert sum(f.macs for f in facts) == conv_macs(graph) + extra


def test_no_images_is_an_error():
    graph = all_nodes()
    qgraph = quantise(graph, SMALL, images(1))
    with pytest.raises(QuantError, match="no images"):
        quant_report(graph, qgraph, [])
    assert np.isfinite(quant_report(graph, qgraph, images(1)).output_sqnr_db["h"])
