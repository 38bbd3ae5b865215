"""Every module of the generated Verilog counts as the class of block that it was given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_gen.contract.modules import CLASSES, EXACT, TOP, class_of
from fpga_gen.contract.params import EngineParams
from fpga_gen.generated import engine_verilog
from fpga_gen.resources import SIZES
from fpga_gen.synth.modules import split_modules
from tests.engines import SMALL, TABLES
from tests.schedule.graphs import DOUBLE_CLOCK, THREE_MODES

pytestmark = pytest.mark.timeout(900)  # writes the Verilog of an engine

ENGINES = {
    "small": SMALL,
    "three": THREE_MODES,
    "double": DOUBLE_CLOCK,
    "block banks": replace(SMALL, bram_banks=1),
    "xc7": replace(SMALL, family="xc7"),
    "tables": TABLES,
}


@pytest.mark.parametrize("params", ENGINES.values(), ids=ENGINES)
def test_every_emitted_module_has_a_class(params: EngineParams) -> None:
    modules = split_modules(engine_verilog(params)).modules
    assert {class_of(name) for name in modules} <= set(SIZES)
    assert class_of(TOP) == "control"


def test_every_class_has_a_size_and_modules() -> None:
    assert {*CLASSES.values(), *EXACT.values()} == set(SIZES)


@pytest.mark.parametrize("name", [f"{TOP}.engine.new_block", "mac_new", f"{TOP}.shell.new"])
def test_a_new_module_without_a_class_is_an_error(name: str) -> None:
    with pytest.raises(KeyError, match=r"contract/modules\.py"):
        class_of(name)


def test_modules_within_a_block_count_as_it() -> None:
    assert class_of(f"{TOP}.engine.exit.steps") == class_of(f"{TOP}.engine.exit") == "exit path"
    assert class_of("fpga_gen_bank_block_64") == "feature banks"
    assert class_of("accumulators_24.partial_0") == "accumulators"
