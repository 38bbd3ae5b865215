"""Reports for tests: one by hand, one of a small network on a small engine, one as large as they
get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fpga_gen.boards import load_board
from fpga_gen.report import (
    Accuracy,
    ArrayFacts,
    BoardFacts,
    Estimate,
    LayerFacts,
    MaskScores,
    MemoryFacts,
    ModelFacts,
    Report,
    ResourceFacts,
    Simulation,
    TensorSqnr,
)
from fpga_gen.report.collect import build_report
from fpga_gen.report.timeline import Activity, MapFacts, Timeline
from fpga_gen.resources import estimate_resources
from fpga_gen.schedule.compile import compile_schedule
from tests.engines import SMALL
from tests.schedule.graphs import example

HOSTILE = "</script><script>document.title='broken'</script><b>&\"'"


@pytest.fixture
def report() -> Report:
    """By hand: figures that a reader can check in his head."""
    board = load_board("zcu104")
    activities = (
        Activity("image", "load", 100, 150, 0, 0, 400, 0),
        Activity("conv|1", "conv", 160, 900, 20, 10, 3100, 0),
        Activity("out", "store", 920, 950, 0, 0, 0, 500),
        Activity("", "end", 950, 950, 0, 0, 0, 0),
    )
    maps = (MapFacts("image", 0, 4096, 0, 900), MapFacts("out", 4096, 1 << 20, 160, 1000))
    return Report(
        model=ModelFacts("net", "ab" * 32, 1_000_000, 5_000, (3, 352, 352)),
        board=BoardFacts(board.name, board.part, board.status),
        clock_mhz=300.0,
        array=ArrayFacts(8, 16, {"DSP": 24, "SP2": 18}, 5376, (1, 2, 3)),
        estimate=Estimate(1000, 300_000.0, 0.186, 4000, 500, 3000, 48.6),
        memory=MemoryFacts(3 << 20, 1 << 20, 1 << 19, "conv1"),
        resources=ResourceFacts(estimate_resources(board.array), board.resources),
        layers=(
            LayerFacts("image", "load", "", 0, 150, 0.0, 400, "", 300),
            LayerFacts(
                "conv|1", "conv", "2x(8 px x 21 ch)", 1_000_000, 750, 0.25, 3100, "conv", 2500
            ),
            LayerFacts("out", "store", "", 0, 50, 0.0, 500, "", 400),
        ),
        timeline=Timeline(activities, maps),
        quantisation={"scheme": "mixed", "damage_db": {"x": float("inf")}},
        tool_version="0.2.0",
    )


@pytest.fixture
def simulated(report: Report) -> Report:
    """The same after a simulation."""
    starts = (102, 165, 930, 961)
    simulation = Simulation(
        1010, 297_029.7, 0.184, 4096, 512, True, 7, 1.5, "p.png", {"BUSY": 800}, starts
    )
    return replace(report, simulation=simulation)


@pytest.fixture
def evaluated(simulated: Report) -> Report:
    """The same after an evaluation."""
    scores = (
        MaskScores("float", "float", 4, 0.91, 0.84, 0.9, 0.9, None, 0.998),
        MaskScores("integer", "integer reference", 4, 0.9079, 0.83, 0.9, 0.9, 0.998, None),
    )
    accuracy = Accuracy(
        "polyps/images", "cd" * 32, 4, 1, (352, 352), "stretch", scores, "worst.png", 0.71,
        {"SP2": 0.42}, (TensorSqnr("mul_2", "node_mul_2", "I16", 31.25),), True,
    )  # fmt: skip
    return replace(simulated, accuracy=accuracy)


@pytest.fixture(scope="session")
def compiled() -> Report:
    """Report of a HarDNet-like block with links, pooling, resampling and a product."""
    item = example("block", SMALL)
    schedule = compile_schedule(item.graph, SMALL)
    model = ModelFacts("block", "ef" * 32, schedule.estimate.macs, 1000, (3, 8, 8))
    return build_report(model, load_board("kv260"), SMALL, 200.0, item.graph, schedule)


@pytest.fixture(scope="session")
def large(compiled: Report) -> Report:
    """130 layers with long, equal and hostile names."""
    activity, layer = compiled.timeline.activities[1], compiled.layers[1]
    names = [f"/base/{i}/layers/{i % 7}/conv/Conv_output_{i}" for i in range(128)]
    names += [HOSTILE, "same", "same"]
    layers = tuple(replace(layer, name=n, cycles=1000 + 37 * i) for i, n in enumerate(names))
    activities, maps, now = [], [], 0
    for item in layers:
        end = now + item.cycles
        activities.append(replace(activity, layer=item.name, start=now, end=end, stall_drain=0))
        maps.append(MapFacts(item.name, 64 * (len(maps) % 9), 64, now, end))
        now = end
    return replace(
        compiled,
        model=replace(compiled.model, name=HOSTILE),
        layers=layers,
        timeline=Timeline(tuple(activities), tuple(maps)),
        estimate=replace(compiled.estimate, cycles=now + 100),
        memory=replace(compiled.memory, capacity_bytes=1024, peak_bytes=640),
    )
