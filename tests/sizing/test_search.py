"""The search picks an engine that fits, and the model that ranks engines is near the schedule."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from fpga_gen.boards import Resources, load_board
from fpga_gen.errors import ScheduleError
from fpga_gen.frontend.importer import import_onnx
from fpga_gen.graph.passes.optimise import optimise
from fpga_gen.resources import LIMITS, estimate_resources
from fpga_gen.sizing.cycles import Work, frame_cycles, frame_work
from fpga_gen.sizing.search import _engines, find_engines
from tests.cli.networks import write_model


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    path = write_model(tmp_path_factory.mktemp("model") / "net.onnx")
    return frame_work(optimise(import_onnx(path)))


@pytest.mark.parametrize("board", ["zcu104", "kv260"])
@pytest.mark.parametrize("scheme", ["mixed", "fixed8"])
def test_candidates_keep_the_limits_and_are_ranked(work: Work, board: str, scheme: str):
    facts = load_board(board)
    found = find_engines(work, facts, scheme)
    assert len(found) == 10
    cycles = [c.cycles.total for c in found]
    assert cycles == sorted(cycles)
    for candidate in found:
        need, have = asdict(candidate.resources), asdict(facts.resources)
        assert all(need[key] <= share * have[key] for key, share in LIMITS.items())
        assert scheme == "mixed" or candidate.params.sp2_columns == 0
        assert candidate.limit(facts)


@pytest.mark.parametrize("board", ["zcu104", "kv260"])
def test_twice_the_clock_gives_more_multipliers_in_the_same_board(work: Work, board: str):
    facts = load_board(board)
    plain, double = (
        find_engines(work, facts, "mixed", double_clock=fast) for fast in (False, True)
    )
    assert all(c.params.double_clock for c in double)
    assert not any(c.params.double_clock for c in plain)
    for candidate in double:
        assert all(share <= LIMITS[key] for key, share in candidate.shares(facts).items())
    most = [
        max(p.macs_per_cycle for p in _engines(facts, facts.default_array("mixed", fast)))
        for fast in (False, True)
    ]
    assert most[1] > 1.3 * most[0]


def test_more_logic_never_makes_it_slower(work: Work):
    board = load_board("kv260")
    larger = replace(board, resources=replace(board.resources, luts=300_000, dsps=2_000))
    small, large = (find_engines(work, b, "mixed")[0].cycles.total for b in (board, larger))
    assert large <= small


def test_a_board_without_room_is_refused(work: Work):
    board = replace(load_board("zcu104"), resources=Resources(900, 900, 4, 8, 0))
    with pytest.raises(ScheduleError, match="no engine fits zcu104"):
        find_engines(work, board, "mixed")


def test_weights_cannot_come_faster_than_the_ports(work: Work):
    """With one port a frame takes at least the time of its weight bytes."""
    params = replace(load_board("zcu104").array, ports=1)
    wide = frame_cycles(work, load_board("zcu104").array)
    assert frame_cycles(work, params).total >= wide.total


def test_ports_give_way_to_columns():
    """On a board with LUTs for the columns of the default engine beside two ports, not four, an
    engine with two ports has them."""
    board = load_board("kv260")
    four, two = (estimate_resources(replace(board.array, ports=p)).luts for p in (4, 2))
    assert two < four
    luts = round((four + two) / 2 / LIMITS["luts"])
    tight = replace(board, resources=replace(board.resources, luts=luts))
    engines = list(_engines(tight, tight.default_array("mixed")))
    same = ("pixels", "modes", "dsp_columns", "sp2_columns")
    shapes = [tuple(getattr(p, name) for name in same) for p in engines]
    assert len(set(shapes)) == len(shapes)
    wanted = tuple(getattr(board.array, name) for name in same)
    assert [p.ports for p, shape in zip(engines, shapes, strict=True) if shape == wanted] == [2]
    assert 4 in {p.ports for p in engines}
