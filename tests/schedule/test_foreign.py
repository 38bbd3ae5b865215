"""Selections, crops and phases of maps through the compiled program, bit for bit."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fpga_gen.contract.isa import ConvInstruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError, UnsupportedModel
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.quant.interpreter import quantise_input, run_integer
from fpga_gen.quant.ir import QConv
from fpga_gen.quant.options import QuantOptions
from fpga_gen.quant.quantise import quantise
from tests.engines import SMALL
from tests.frontend.onnx_models import Net
from tests.frontend.test_random_networks import networks
from tests.schedule.builder import Example
from tests.schedule.foreign import NETWORKS, foreign, quantised
from tests.schedule.graphs import THREE_MODES
from tests.schedule.test_program import check

ENGINES = {"small": SMALL, "three": THREE_MODES, "default": EngineParams()}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_program(name: str, engine: str, tmp_path: Path) -> None:
    check(foreign(name, ENGINES[engine], tmp_path), ENGINES[engine])


def test_wide_phases(tmp_path: Path) -> None:
    """1,200 columns of a transposed convolution in the middle of a network."""
    net = Net(shape=(1, 3, 2, 600))
    y = net.op("ConvTranspose", "x", net.random(3, 4, 2, 2), strides=[2, 2])
    net.save(tmp_path, net.conv(y, 4, 3))
    check(quantised(tmp_path / "net.onnx", EngineParams()), EngineParams())


def test_a_part_of_a_map_costs_the_planes_that_hold_it(tmp_path: Path) -> None:
    """Six channels of twelve lie in two of three planes of four channels: kinds of columns move no
    channel to another plane, and a plane without weights is not read."""
    item = foreign("cross stage", SMALL, tmp_path)
    part = next(
        n for n in item.graph.nodes
        if isinstance(n, QConv) and n.terms[0].weight.shape == (6, 12, 3, 3)
    )  # fmt: skip
    assert part.terms[0].weight.any((0, 2, 3)).tolist() == [False] * 6 + [True] * 6
    schedule = check(item, SMALL)
    issued = [
        i for i in schedule.instructions
        if i.layer == part.name and isinstance(i, ConvInstruction)
    ]  # fmt: skip
    assert issued
    assert {i.n_blocks for i in issued} == {2}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_random_networks(net: Net) -> None:
    """Whatever is imported and fits computes what the integer network says."""
    with TemporaryDirectory() as folder:
        try:
            graph = optimise(import_onnx(net.save(Path(folder))))
        except UnsupportedModel:
            return
    qgraph = quantise(graph, SMALL, None, options=QuantOptions(compensate=False))
    image = np.random.default_rng(5).normal(size=graph.host_input.model_shape)
    stored = quantise_input(qgraph, image.astype(np.float32))
    item = Example(qgraph, stored, run_integer(qgraph, stored))
    with suppress(ScheduleError):  # some maps are too large for so small an engine
        check(item, SMALL)
