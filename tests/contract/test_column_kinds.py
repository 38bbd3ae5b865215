"""The registry of column kinds, and what every entry must agree with."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from fpga_gen.contract.column_kinds import COARSE, EXACT, KINDS, ColumnKind, weight_codes
from fpga_gen.contract.modules import CLASSES
from fpga_gen.contract.numerics import INT8, SCHEMES, SP2_CODES, FixedCode
from fpga_gen.contract.params import EngineParams
from fpga_gen.errors import ScheduleError
from fpga_gen.hardware.array.columns import column_kinds
from fpga_gen.hardware.array.mac_array import MacArray
from fpga_gen.resources import NAMES, SIZES
from tests.engines import SMALL

CODES = {code.name: code for code in (*SP2_CODES.values(), INT8, FixedCode(4), FixedCode(2))}


def only(kind: ColumnKind, count: int, **changes: object) -> EngineParams:
    """An engine whose columns are all of one kind."""
    columns = {k.field: count if k is kind else 0 for k in KINDS}
    return replace(SMALL, **columns, **changes)


def test_numbers_are_places_and_names_are_unique():
    assert [kind.number for kind in KINDS] == list(range(len(KINDS)))
    assert (EXACT, *COARSE) == KINDS
    for key in ("name", "title", "filters"):
        assert len({getattr(kind, key) for kind in KINDS}) == len(KINDS)
    declared = [f.name for f in fields(EngineParams) if f.name.endswith("_columns")]
    assert declared == [kind.field for kind in KINDS]


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_codes_hold_their_levels(code):
    assert code.levels.tolist() == sorted({*code.levels.tolist()})
    assert code.levels.tolist() == (-code.levels[::-1]).tolist()
    assert code.max_level == code.levels[-1] <= 127
    assert 0 in code.levels
    words = code.encode(code.levels)
    assert words.min() >= 0
    assert words.max() < 1 << code.bits <= 256
    assert [code.decode(int(word)) for word in words] == code.levels.tolist()
    assert code.decode(0) == 0  # the half of a slot that is not sent is cleared
    for wrong in (code.max_level + 1, -code.max_level - 1):
        with pytest.raises(ValueError, match=f"the {code.name} code"):
            code.encode(np.array([0, wrong]))


def test_a_scheme_narrows_fixed_point_alone():
    sp2 = SP2_CODES["sp2-4"]
    codes = weight_codes(sp2, bits=4)
    for kind in KINDS:
        assert codes[kind.number].max_level <= kind.code(sp2).max_level
    assert codes[EXACT.number].levels.tolist() == list(range(-7, 8))
    assert sp2 in codes.values()


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
@pytest.mark.parametrize("in_channels", [4, 8, 16])
def test_an_engine_of_one_kind_has_its_figures(kind: ColumnKind, in_channels: int):
    """At every number of inputs, whatever the other kinds would take."""
    count = 2 * kind.step(SMALL)
    params = only(kind, count, in_channels=in_channels)
    (hardware,) = column_kinds(params)
    assert params.kinds == (hardware.kind,) == (kind,)
    assert (params.columns, params.sub_columns) == (count, count // params.subgroups)
    assert params.figures == (2, in_channels, *(count if k is kind else 0 for k in KINDS))
    (part,) = params.sub_kinds
    assert part.bits.stop * in_channels == params.sub_weight_bits
    assert params.slot_minimum == max(8, hardware.hold)
    array = MacArray(params)
    assert array.latency > hardware.latency
    assert {params.column_kind(j) for j in range(3 * count)} == {kind.number}
    with pytest.raises(ScheduleError, match=f"{kind.field} must be a multiple of"):
        only(kind, count + 1)


def test_columns_of_a_subgroup_lie_kind_by_kind():
    params = EngineParams(dsp_columns=24, sp2_columns=12)
    ends = [(k.columns.stop, k.bits.stop) for k in params.sub_kinds]
    assert ends == [(4, 32), (6, 32 + 2 * params.sp2.bits)]
    for mode in params.modes:
        kinds = [params.column_kind(j) for j in range(params.group_channels(mode))]
        assert kinds == [0, 0, 0, 0, 1, 1] * (params.subgroups // mode)
    assert params.column_kind(9, period=4) == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_every_module_of_a_kind_has_a_class_with_a_size(kind: ColumnKind):
    params = only(kind, 2 * kind.step(SMALL))
    assert kind.scarce in NAMES
    assert sum(applies(params) for applies in kind.costs.values()) == 1
    (cost,) = (cost for cost, applies in kind.costs.items() if applies(params))
    assert SIZES[cost](params) == params.macs_per_cycle
    (hardware,) = column_kinds(params)
    assert {CLASSES[name] for name in hardware.leaves()} == {cost}
    assert hardware.twins().keys() <= hardware.leaves().keys()


def test_every_kind_is_allowed_by_a_scheme_and_all_by_mixed():
    assert all(SCHEMES["mixed"].allows(kind.number) for kind in KINDS)
    for scheme in SCHEMES.values():
        assert any(scheme.allows(kind.number) for kind in KINDS)
