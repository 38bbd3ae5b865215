"""Pictures into the region: the table path equals the plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from host_fakes import MEAN, STD, layout_json, write_deploy

from fpga_gen_host import InputError, load_deployment
from fpga_gen_host.model_input import space_to_depth
from fpga_gen_host.pictures import fit_picture
from fpga_gen_host.prepare import InputPacker
from fpga_gen_host.regions import map_to_words, restore_fourth, unstripe

LAYOUTS = {
    "direct-8": {},
    "direct-16": {"bits": 16},
    "direct-plain": {"block": 1},
    "direct-letterbox": {"bits": 16, "fit": "letterbox"},
    "odd-pixels": {"block": 1, "size": (9, 11)},
    "three-planes": {"block": 4, "size": (16, 24)},
    "narrow-words": {"word": 4, "bits": 16},
    "permuted": {"positions": [0, 2, 1, 3, 4, 5, 6, 7, 8, 9, 11, 10]},
    "grey": {"channels": 1},
    "direct-pixels": {"pixels": True, "pads": (1, 1, 1, 1)},
    "direct-packed": {"pixels": True, "pads": (1, 1, 1, 1), "packed": True},
    "grey-packed": {"channels": 1, "packed": True},
    "grey-pixels": {"pixels": True, "pads": (1, 1, 1, 1), "channels": 1},
}


@pytest.fixture(params=LAYOUTS)
def case(request, tmp_path: Path):
    d = load_deployment(write_deploy(tmp_path, layout_json(**LAYOUTS[request.param])))
    return d, InputPacker(d), request.param


def random_picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def region_of(d, packer: InputPacker, array: np.ndarray) -> np.ndarray:
    region = np.zeros(d.input.bytes, np.uint8)
    packer.pack(array, region)
    return region


def test_table_equals_arithmetic(case):
    """Whatever the layout: the region holds the words of the quantised, normalised picture."""
    d, packer, name = case
    assert (packer._pairs is not None) == name.startswith("direct")
    picture = random_picture(21, 17)
    fitted = fit_picture(picture, d.model_shape, d.preparation)
    if d.model_shape[0] == 1:
        weights = np.array([19595, 38470, 7471])  # ITU-R 601 luma in 1/65536, as Pillow has it
        colours = fit_picture(picture, (3, *d.model_shape[1:]), d.preparation)
        assert np.array_equal(fitted, ((colours @ weights + 0x8000) >> 16)[..., None])
    channels = d.model_shape[0]
    real = ((fitted / 255.0 - MEAN[:channels]) / STD[:channels]).astype(np.float32)
    real = real.transpose(2, 0, 1)
    region = region_of(d, packer, picture)
    assert np.array_equal(region, region_of(d, packer, real))

    t, host = d.input_tensor, d.host_input
    if host.gain:  # pixels are stored as they are, minus 128
        means = np.rint(np.array(host.offset)).astype(int)
        framed = np.empty((t.shape[1] * 2, t.shape[2] * 2, channels), int)
        framed[:] = means
        framed[1:-1, 1:-1] = fitted
        engine = space_to_depth(framed.transpose(2, 0, 1), 2) - 128
    else:
        engine = np.rint(space_to_depth(real, host.space_to_depth).astype(np.float64) / t.scale)
    stored = np.clip(engine, t.lo, t.hi).astype(np.int16)
    assert len(np.unique(stored)) > 20
    words = unstripe(region.tobytes(), d.ports).view(np.int8)
    words = words.reshape(d.input.stream_words, d.input.load_words, -1).transpose(1, 0, 2)
    if d.input.packed:
        words = restore_fourth(words, d.input.part)
    beat = d.input.load_words // d.ports  # words that follow each other in a port's part
    words = words.reshape(d.ports, beat, d.input.part, -1).transpose(0, 2, 1, 3)
    run = words.reshape(-1, d.input.map.word_channels)[: d.input.map.words]
    used = 12 if d.input.packed else d.input.map.word_channels
    assert np.array_equal(run[:, :used], map_to_words(d.input.map, stored)[:, :used])


def test_batch_axis_is_accepted(case):
    d, packer, _ = case
    real = np.random.default_rng(1).normal(size=d.model_shape)
    assert np.array_equal(region_of(d, packer, real), region_of(d, packer, real[None]))


def test_letterbox_keeps_the_shape(tmp_path: Path):
    d = load_deployment(write_deploy(tmp_path, layout_json((8, 12), fit="letterbox")))
    fitted = fit_picture(np.zeros((50, 50, 3), np.uint8), d.model_shape, d.preparation)
    assert (fitted[:, 2:10] == 0).all()
    assert (fitted[:, :2] == 114).all()
    assert (fitted[:, 10:] == 114).all()


def test_stored_input_of_another_shape(case):
    d, packer, _ = case
    region = np.zeros(d.input.bytes, np.uint8)
    with pytest.raises(InputError, match="stored input"):
        packer.pack_stored(np.zeros((1, 1, 1), np.int8), region)
    with pytest.raises(InputError, match="stored input"):
        packer.pack_stored(np.zeros(d.input_tensor.shape), region)


def test_picture_for_a_network_without_colours(tmp_path: Path):
    d = load_deployment(write_deploy(tmp_path, layout_json(channels=2)))
    with pytest.raises(InputError, match="has 2 channels"):
        region_of(d, InputPacker(d), random_picture(8, 12))
