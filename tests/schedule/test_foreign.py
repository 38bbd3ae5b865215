"""Selections, crops and phases of maps through the compiled program, bit for bit."""

from pathlib import Path

import pytest

from fpga_gen.contract.isa import ConvInstruction
from fpga_gen.contract.params import EngineParams
from fpga_gen.quant.ir import QConv
from tests.engines import SMALL
from tests.schedule.foreign import NETWORKS, foreign
from tests.schedule.graphs import THREE_MODES
from tests.schedule.test_program import check

ENGINES = {"small": SMALL, "three": THREE_MODES, "default": EngineParams()}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_program(name: str, engine: str, tmp_path: Path) -> None:
    check(foreign(name, ENGINES[engine], tmp_path), ENGINES[engine])


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
