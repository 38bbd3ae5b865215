"""Host operators against plain loops, and the time of the last resize of a segmentation network."""

from __future__ import annotations

import math
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from host_fakes import layout_json, write_deploy

from fpga_gen_host import DeployError, load_deployment
from fpga_gen_host.deployment import Deployment
from fpga_gen_host.host_kinds import resize_matrix

SIZE = (8, 12)  # of the picture; the output map is 4 x 6 with scale 0.5


def tail_of(tmp_path: Path, *ops: tuple[str, dict], size: tuple[int, int] = SIZE) -> Deployment:
    listed = [{"kind": k, "target": "out", "attributes": a, "onnx_name": ""} for k, a in ops]
    return load_deployment(write_deploy(tmp_path, layout_json(size, host_ops=listed)))


@pytest.fixture
def stored() -> dict[str, np.ndarray]:
    return {"out": np.random.default_rng(0).integers(-128, 128, (1, 4, 6)).astype(np.int8)}


def test_dequantised(tmp_path: Path, stored):
    assert np.array_equal(tail_of(tmp_path).finish(stored)["mask"], stored["out"][None] * 0.5)


def test_sigmoid_without_overflow(tmp_path: Path, stored):
    result = tail_of(tmp_path, ("sigmoid", {})).finish(stored)["mask"]
    wanted = [1 / (1 + math.exp(-0.5 * int(v))) for v in stored["out"].flat]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.ravel(), wanted, rtol=5e-7)


def test_reshape_softmax_argmax(tmp_path: Path, stored):
    shape = ("reshape", {"shape": [1, 24]})
    result = tail_of(tmp_path / "s", shape, ("softmax", {"axis": 1})).finish(stored)["mask"]
    e = [math.exp(0.5 * int(v)) for v in stored["out"].flat]
    np.testing.assert_allclose(result[0], [v / sum(e) for v in e], rtol=1e-5, atol=1e-6)
    for keep, wanted in ((False, (1,)), (True, (1, 1))):
        op = ("argmax", {"axis": 1, "keepdims": keep})
        index = tail_of(tmp_path / str(keep), shape, op).finish(stored)["mask"]
        assert index.shape == wanted
        assert index.item() == int(np.argmax(stored["out"]))


@pytest.mark.parametrize(("lo", "hi"), [(-3.0, None), (None, 2.5), (0.0, 6.0)])
def test_clip(tmp_path: Path, stored, lo, hi):
    result = tail_of(tmp_path, ("clip", {"lo": lo, "hi": hi})).finish(stored)["mask"]
    for value, got in zip(stored["out"].flat, result.flat, strict=True):
        wanted = 0.5 * int(value)
        wanted = wanted if lo is None else max(wanted, lo)
        assert got == (wanted if hi is None else min(wanted, hi))


def linear(values: np.ndarray, size: int, scale: float) -> list[float]:
    """Half-pixel interpolation, one element at a time."""
    out = []
    for i in range(size):
        x = min(max((i + 0.5) / scale - 0.5, 0.0), len(values) - 1.0)
        low = int(x)
        high = min(low + 1, len(values) - 1)
        out.append(float(values[low]) * (1 - (x - low)) + float(values[high]) * (x - low))
    return out


def test_resize_of_both_axes(tmp_path: Path, stored):
    op = {
        "size": [12, 9], "scales": [3.0, 1.5], "mode": "linear",
        "coordinate_transformation_mode": "half_pixel", "nearest_mode": "floor",
    }  # fmt: skip
    result = tail_of(tmp_path, ("resize", op)).finish(stored)["mask"]
    rows = np.array([linear(column, 12, 3.0) for column in (stored["out"][0] * 0.5).T]).T
    wanted = [linear(row, 9, 1.5) for row in rows]
    np.testing.assert_allclose(result[0, 0], wanted, atol=1e-4)


def test_nearest_modes():
    def picks(mode: str) -> list[int]:
        return resize_matrix(2, 4, 2.0, "nearest", "half_pixel", mode).argmax(1).tolist()

    assert picks("round_prefer_floor") == [0, 0, 1, 1]
    assert picks("floor") == [0, 0, 0, 1]
    assert picks("ceil") == [0, 1, 1, 1]


def test_unknown_operator_is_refused_at_once(tmp_path: Path):
    with pytest.raises(DeployError, match="host operator 'topk' is unknown"):
        tail_of(tmp_path, ("topk", {}))


def test_eightfold_resize_works_on_whole_maps(tmp_path: Path):
    """44 x 44 to 352 x 352: as many calls as for any size, and memory of three results."""
    op = {
        "scales": [8.0, 8.0], "mode": "linear",
        "coordinate_transformation_mode": "half_pixel", "nearest_mode": "floor",
    }  # fmt: skip
    calls = []
    for size in (4, 44):
        folder = tmp_path / str(size)
        folder.mkdir()
        out = 8 * size
        tail = tail_of(folder, ("resize", {**op, "size": [out, out]}), size=(2 * size, 2 * size))
        stored = {"out": np.ones((1, size, size), np.int8)}
        assert tail.finish(stored)["mask"].shape == (1, 1, out, out)
        calls.append(calls_of(lambda: tail.finish(stored)))  # noqa: B023 - called at once
    assert calls[0] == calls[1] < 200
    tracemalloc.start()
    tail.finish(stored)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * out * out


def calls_of(work: Callable[[], object]) -> int:
    """Calls of functions, those of numpy included, that `work` makes."""
    count = 0

    def met(_frame, event: str, _argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(met)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count
