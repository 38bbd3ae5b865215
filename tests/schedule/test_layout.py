"""Byte layouts: striping, maps in planes, the input and output regions, weights and parameters."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from fpga_gen.contract.column_kinds import DSP_KIND, SP2_KIND
from fpga_gen.contract.numerics import DSP, I8, I16, SP2, SP2_CODES
from fpga_gen.contract.params import EngineParams
from fpga_gen.contract.slot_layout import Half, slot_run
from fpga_gen.contract.weight_stream import pack_params, pack_slots, unpack_params, unpack_slots
from fpga_gen.errors import ScheduleError
from fpga_gen.quant.ir import QTensor
from fpga_gen.schedule.lower.placement import channel_positions, map_layout
from fpga_gen_host.decode import decode
from fpga_gen_host.regions import (
    InputLayout,
    MapLayout,
    OutputLayout,
    map_to_words,
    pack_input,
    stripe,
    to_json,
    unpack_output,
    unstripe,
    words_to_map,
)
from tests.engines import SMALL
from tests.schedule.graphs import THREE_MODES


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_stripe_gives_every_port_its_part(ports: int) -> None:
    words = np.random.default_rng(ports).integers(0, 256, (7, ports * 16)).astype(np.uint8)
    region = stripe(words, ports)
    for port in range(ports):
        for i in range(7):
            at = (port * 7 + i) * 16
            assert region[at : at + 16] == words[i, port * 16 : port * 16 + 16].tobytes()
    np.testing.assert_array_equal(unstripe(region, ports), words)


def test_map_of_words_by_hand() -> None:
    """Channel c at byte offset + position, planes of one word per pixel, low bytes further on."""
    layout = MapLayout(
        "t", 3, 2, 2, 4, plane=5, low=9, words=18, positions=(2, 0, 1), byte_offset=3
    )
    assert layout.planes == 2
    stored = np.arange(12).reshape(3, 2, 2).astype(np.int16) * 777 - 3000
    run = map_to_words(layout, stored)
    for c in range(3):
        plane, byte = divmod(3 + layout.positions[c], 4)
        for y in range(2):
            for x in range(2):
                word = plane * 5 + y * 2 + x
                high, low = int(run[word, byte]), int(run[9 + word, byte])
                assert 256 * high + low + 128 == stored[c, y, x]
    np.testing.assert_array_equal(words_to_map(layout, run), stored)


def test_input_words_go_where_load_puts_them() -> None:
    params = EngineParams(ports=2)
    tensor = QTensor("image", 20, 5, 3, 1.0, I8)
    layout = map_layout(tensor, params)
    part = params.plane_words(-(-layout.words // params.load_words))
    region_layout = InputLayout(layout, part, params.load_words, params.ports)
    stored = np.random.default_rng(0).integers(-128, 128, (20, 5, 3)).astype(np.int8)
    region = pack_input(region_layout, stored)
    assert len(region) == region_layout.bytes
    memory = np.zeros((params.load_words * part, params.in_channels), np.int8)
    for i, word in enumerate(unstripe(region, params.ports).view(np.int8)):
        for k in range(params.load_words):
            memory[k * part + i] = word[k * 16 : k * 16 + 16]
    np.testing.assert_array_equal(words_to_map(layout, memory), stored)
    assert decode(InputLayout, json.loads(json.dumps(to_json(region_layout)))) == region_layout


@pytest.mark.parametrize("part", [1, 3, 4, 5, 7, 8, 23])
def test_packed_input_words(part: int) -> None:
    """Three stream words carry four memory words; the last ones of a part go alone."""
    layout = map_layout(QTensor("image", 12, 2, part, 1.0, I8), EngineParams())
    packed = InputLayout(layout, part, 2, 2, True)
    stored = np.random.default_rng(0).integers(-128, 128, (12, 2, part)).astype(np.int8)
    region = pack_input(packed, stored)
    assert len(region) == packed.bytes == 32 * (part // 4 * 3 + part % 4)
    sent = unstripe(region, 2).view(np.int8).reshape(-1, 2, 16)
    kept: list[list[np.ndarray]] = [[], []]
    memory = [[], []]
    for word in sent:  # as the hardware does it
        for k in range(2):
            memory[k].append(word[k][:12])
            kept[k] = [*kept[k], word[k][12:]][-3:]
            if len(memory[k]) % 4 == 3:
                memory[k].append(np.concatenate(kept[k]))
    run = np.concatenate([m[:part] for m in memory])
    np.testing.assert_array_equal(run[: layout.words], map_to_words(layout, stored)[:, :12])
    assert decode(InputLayout, json.loads(json.dumps(to_json(packed)))) == packed


def test_input_of_a_wrong_shape_is_refused() -> None:
    layout = map_layout(QTensor("image", 3, 4, 4, 1.0, I8), SMALL)
    with pytest.raises(ValueError, match="'image' has shape"):
        pack_input(InputLayout(layout, 16, 4, 1), np.zeros((3, 4, 5), np.int8))


def test_output_region() -> None:
    tensors = [QTensor("a", 5, 3, 3, 1.0, I16), QTensor("b", 2, 4, 1, 1.0, I8)]
    maps = tuple(map_layout(t, SMALL, beats=True) for t in tensors)
    layout = OutputLayout(maps, (0, 320), 320 + maps[1].words * 4)
    assert all(m.words * 4 % 16 == 0 for m in maps)
    rng = np.random.default_rng(0)
    a = rng.integers(-32768, 32768, (5, 3, 3)).astype(np.int16)
    b = rng.integers(-128, 128, (2, 4, 1)).astype(np.int8)
    first = map_to_words(maps[0], a).tobytes()
    region = first.ljust(320, b"\0") + map_to_words(maps[1], b).tobytes()
    out = unpack_output(layout, region)
    np.testing.assert_array_equal(out["a"], a)
    np.testing.assert_array_equal(out["b"], b)
    assert decode(OutputLayout, json.loads(json.dumps(to_json(layout)))) == layout
    with pytest.raises(ValueError, match="335 bytes, 336 are needed"):
        unpack_output(layout, region[:-1])


def test_planes_are_free_of_write_conflicts() -> None:
    for params in (SMALL, THREE_MODES, EngineParams()):
        for size in range(1, 60):
            layout = map_layout(QTensor("t", 40, size, 1, 1.0, I16), params)
            assert layout.plane % params.banks == params.skew % params.banks
            assert layout.plane >= size


def test_channels_keep_their_order_within_a_kind() -> None:
    kinds = (SP2, DSP, DSP, SP2, SP2, DSP, DSP)  # SMALL: two int8, two SP2 columns in turn
    tensor = QTensor("t", 7, 1, 1, 1.0, I8, kinds)
    assert channel_positions(tensor, SMALL) == (2, 0, 1, 3, 6, 4, 5)
    wrong = QTensor("t", 7, 1, 1, 1.0, I8, (DSP, *kinds[1:]))
    with pytest.raises(ScheduleError, match="'t' has 5 int8 and 2 SP2"):
        channel_positions(wrong, SMALL)


@pytest.mark.parametrize("params", [SMALL, THREE_MODES, EngineParams()])
def test_weight_slot_bits(params: EngineParams) -> None:
    """Every weight is found at the bit position that the layout's definition gives."""
    rng = np.random.default_rng(0)
    code, sub_dsp = params.sp2, DSP_KIND.sub_count(params)
    lane = 8 * sub_dsp + code.bits * SP2_KIND.sub_count(params)
    middle = params.in_channels // 2
    for subgroups, half in itertools.product(range(1, params.subgroups + 1), Half):
        channels = subgroups * params.sub_columns
        weights = np.empty((3, params.in_channels, channels), np.int8)
        for c in range(channels):
            levels = range(-127, 128) if params.column_kind(c) == DSP else code.levels
            weights[..., c] = rng.choice(levels, weights.shape[:2])
        if half == Half.LOW:
            weights[:, middle:] = 0
        if half == Half.HIGH:
            weights[:, :middle] = 0
        packed = pack_slots(weights, params, subgroups, half)
        run = slot_run(params, subgroups, half)
        assert packed.shape == (3, run.granules)
        assert run.granules <= -(-channels * lane * params.in_channels // params.sub_columns // 32)
        value = int.from_bytes(packed[2].tobytes(), "little") << 32 * run.first
        centre = params.subgroups * middle * lane
        size = middle * lane
        if run.wrapped:  # the last bits of the last subgroup, at the beginning of the run
            end = centre + subgroups * size
            value |= (value >> 32 * run.first & (1 << run.wrapped) - 1) << end - run.wrapped
        for i, c in itertools.product(range(params.in_channels), range(channels)):
            sub, column = divmod(c, params.sub_columns)
            at = centre - (sub + 1) * size if i < middle else centre + sub * size
            at += i % middle * lane
            if i // middle == {Half.LOW: 1, Half.HIGH: 0}.get(half):
                continue
            if column < sub_dsp:
                raw = value >> (at + 8 * column) & 255
                got = raw - 256 if raw > 127 else raw
            else:
                at += 8 * sub_dsp + code.bits * (column - sub_dsp)
                got = code.decode(value >> at & ((1 << code.bits) - 1))
            assert got == weights[2, i, c]
        np.testing.assert_array_equal(unpack_slots(packed, params, subgroups, half), weights)


@pytest.mark.parametrize("params", [SMALL, THREE_MODES, EngineParams()])
def test_whole_slots_have_no_padding_beyond_a_granule(params: EngineParams) -> None:
    for mode in params.modes:
        whole = slot_run(params, params.subgroups // mode)
        assert whole.granules == params.slot_granules(mode)
        assert slot_run(params, params.subgroups // mode, Half.LOW).granules <= (
            whole.granules // 2 + 2
        )


def test_weights_of_the_other_half_are_refused() -> None:
    weights = np.zeros((1, SMALL.in_channels, SMALL.sub_columns), np.int8)
    weights[0, SMALL.in_channels - 1, 0] = 1
    with pytest.raises(AssertionError, match="not sent"):
        pack_slots(weights, SMALL, 1, Half.LOW)


def test_cleared_inputs_have_no_weight() -> None:
    """The half of a slot that is not sent is cleared: that must be weight 0 in every code."""
    assert all(code.decode(0) == 0 for code in SP2_CODES.values())


def test_parameter_bits() -> None:
    rng = np.random.default_rng(0)
    bias = rng.integers(-(2**31), 2**31, (2, 5))
    mult, shift = rng.integers(0, 2**16, (2, 5)), rng.integers(0, 64, (2, 5))
    values = {"bias": bias, "mult": mult, "shift": shift}
    packed = pack_params(values, 10)
    value = int.from_bytes(packed[1].tobytes(), "little")
    for c in range(5):
        record = value >> (56 * c)
        assert record & 0xFFFFFFFF == int(bias[1, c]) & 0xFFFFFFFF
        assert record >> 32 & 0xFFFF == mult[1, c]
        assert record >> 48 & 63 == shift[1, c]
    assert not value >> 56 * 5
    unpacked = unpack_params(packed[1], 5)
    assert unpacked.keys() == values.keys()
    for name, want in values.items():
        np.testing.assert_array_equal(unpacked[name], want[1])


def test_parameter_that_does_not_fit() -> None:
    values = {name: np.zeros((1, 2), np.int64) for name in ("bias", "mult", "shift")}
    with pytest.raises(ValueError, match="parameter shift does not fit 6 bits"):
        pack_params(values | {"shift": np.array([[0, 64]])}, 4)
