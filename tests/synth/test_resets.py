"""The reset reaches every register through registered copies, none of which has many loads."""

from __future__ import annotations

import pytest

from fpga_gen.synth.flow import MAX_FAN_OUT
from fpga_gen.synth.levels import base_name
from fpga_gen.synth.table import map_engine
from tests.engines import SMALL


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes of Yosys where nothing is cached
def test_no_reset_has_many_loads():
    design = map_engine(SMALL)
    top = design.blocks[design.top].timing.outside
    assert top.loads["rst", 0] == (1, 0), "the pin feeds the root of the shell's tree alone"
    nets = [(b, f) for b in design.blocks.values() for f in b.timing.fan_out]
    resets = {
        (b.name, f.net): f for b, f in nets if base_name(f.net).startswith(("reset", "flush"))
    }
    parents = {name for name, _ in resets}
    assert {"fpga_gen_top.engine", "fpga_gen_top.shell"} <= parents
    assert sum(f.control for f in resets.values()) > 300, "the resets are not among the nets"
    assert {key: f for key, f in resets.items() if f.loads > MAX_FAN_OUT} == {}
    # A leaf in a design without a reset domain has none.
    for block in design.blocks.values():
        assert block.timing.outside.loads.get(("rst", 0), (0, 0))[0] <= (block.name == design.top)
