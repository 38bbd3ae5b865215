"""`Session` against ONNX Runtime's session of the model, and its devices against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import fpga_gen
from fpga_gen.images import prepare
from fpga_gen_host import InputError

# The first test that needs the simulator may compile it.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def array() -> np.ndarray:
    """A picture as the model takes it."""
    pixels = np.random.default_rng(3).integers(0, 256, (12, 12, 3), np.uint8)
    return prepare(pixels, (3, 12, 12))[None]


def test_one_changed_line(model: Path, built: Path, array: np.ndarray):
    results = []
    for session in (
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]),
        fpga_gen.Session(built),
    ):
        name = session.get_inputs()[0].name
        (found,) = session.run(None, {name: array})
        (named,) = session.run([session.get_outputs()[0].name], {name: array})
        assert np.array_equal(found, named)
        assert len(session.run([], {name: array})) == 1  # none named: all
        results.append((session, found))
    (theirs, real), (ours, integer) = results
    for get in ("get_inputs", "get_outputs"):
        (a,), (b,) = getattr(theirs, get)(), getattr(ours, get)()
        assert (a.name, a.shape, a.type) == (b.name, b.shape, b.type)
    assert integer.dtype == real.dtype
    noise = np.square(integer - real).sum() / np.square(real).sum()
    assert 0 < noise < 0.01  # quantised, and the same network


def test_rtl_equals_the_reference(built: Path, array: np.ndarray):
    reference = fpga_gen.Session(built)
    feed = {reference.get_inputs()[0].name: array}
    with fpga_gen.Build(built).session("rtl") as rtl:
        assert rtl.get_providers() == ["fpga-gen rtl"]
        for _ in range(2):
            assert np.array_equal(rtl.run(None, feed)[0], reference.run(None, feed)[0])


def test_what_does_not_fit_is_named(built: Path, array: np.ndarray):
    session = fpga_gen.Session(built)
    name = session.get_inputs()[0].name
    for names, feed, message in (
        (["mask"], {name: array}, "no output 'mask': the model has logits"),
        (None, {"picture": array}, "inputs 'picture': the model has one, 'image'"),
        (None, {}, "inputs none"),
        (None, {name: array[:, :, 1:]}, r"is float32 \(1, 3, 11, 12\)"),
        (None, {name: array.astype(np.uint8)}, "is uint8"),
    ):
        with pytest.raises(InputError, match=message):
            session.run(names, feed)


def test_wrong_devices(built: Path):
    for options, message in (
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"address": "127.0.0.1"}, "an address is of a board"),
        ({"timeout_s": 3}, "takes no option 'timeout_s'"),
    ):
        with pytest.raises(fpga_gen.FpgaGenError, match=message):
            fpga_gen.Session(built, **options)
