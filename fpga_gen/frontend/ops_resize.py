"""Resize and Upsample: on the engine as a separable Resample, at the very end on the host."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import onnx

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.host_tail import tail_of
from fpga_gen.frontend.inputs import MAX_SIZE
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, HostValue, Value
from fpga_gen.graph.axis import axis_table, table_error
from fpga_gen.graph.ir import Resample
from fpga_gen_host.resample import COORDINATE_MODES, NEAREST_MODES, exact_scale, resize_rows

HOST_CHANNELS = 4  # a final linear enlargement of so few channels ...
HOST_FACTOR = 4  # ... by so much costs the engine more traffic than the whole map
HOST_ELEMENTS = 1 << 20  # more than a result should take of the on-chip memory


@dataclass(frozen=True)
class _Plan:
    """A Resize over height and width: sizes, exact scales and modes."""

    size: tuple[int, int]
    scales: tuple[Fraction, Fraction]
    mode: str
    coordinates: str
    nearest_mode: str


def resize(call: Call) -> list[Value]:
    call, shape = over_all_axes(call), _input_shape(call)
    if call.opset < 11:
        plan = _plan(call, shape, _scales(call, 1), None, "asymmetric", "simple")
    else:
        if call.flag("exclude_outside", False):
            raise Refused("uses exclude_outside", "export with exclude_outside = 0")
        if call.text("keep_aspect_ratio_policy", "stretch") != "stretch":
            raise Refused("keeps the aspect ratio", "export with fixed output sizes")
        sizes = call.ints(3, "sizes") if call.has(3) else None
        scales = _scales(call, 2) if call.has(2) and not sizes else None
        if call.has(2) and scales is not None and not scales:
            scales = None
        if not sizes and scales is None:
            raise Refused("has neither scales nor sizes", "export with fixed output sizes")
        coordinates = call.text("coordinate_transformation_mode", "half_pixel")
        nearest = call.text("nearest_mode", "round_prefer_floor")
        plan = _plan(call, shape, scales, sizes, coordinates, nearest)
        if call.flag("antialias", False) and plan.mode != "nearest" and min(plan.scales) < 1:
            raise Refused("shrinks with antialiasing", "export with antialias = 0")
    return _apply(call, shape, plan)


def upsample(call: Call) -> list[Value]:
    shape = _input_shape(call)
    scales = _scales(call, 1) if call.has(1) else call.numbers("scales") or []
    return _apply(call, shape, _plan(call, shape, scales, None, "asymmetric", "floor"))


def over_all_axes(call: Call) -> Call:
    """The same Resize with a size or scale for every axis of its map, where it names axes."""
    named = call.integers("axes")
    if named is None:
        return call
    shape = _shape(call)
    axes, values = call.axes(named, len(shape)), list(call.values)
    for index, whole in ((2, np.ones(len(shape), np.float32)), (3, np.array(shape, np.int64))):
        given = values[index] if call.has(index) else None
        if isinstance(given, np.ndarray) and given.size:
            if given.size != len(axes):
                raise Refused(f"gives {given.size} sizes for {len(axes)} axes", "export it again")
            whole[axes] = given.reshape(-1)
            values[index] = whole
    node = onnx.NodeProto()
    node.CopyFrom(call.node)
    kept = [a for a in node.attribute if a.name != "axes"]
    del node.attribute[:]
    node.attribute.extend(kept)
    return replace(call, node=node, values=tuple(values))


def _shape(call: Call) -> tuple[int, ...]:
    value = call.values[0]
    return value.shape if isinstance(value, HostValue) else call.view().shape


def _input_shape(call: Call) -> tuple[int, ...]:
    shape = _shape(call)
    if len(shape) != 4:
        raise Refused("resizes a reshaped map", "keep the map as (1, channels, height, width)")
    return shape


def _scales(call: Call, index: int) -> list[float]:
    return [float(v) for v in call.const(index, "scales").reshape(-1)]


def _plan(
    call: Call,
    shape: tuple[int, ...],
    scales: list[float] | None,
    sizes: list[int] | None,
    coordinates: str,
    nearest_mode: str,
) -> _Plan:
    mode = call.text("mode", "nearest")
    mode = "linear" if mode == "bilinear" else mode
    if mode not in ("nearest", "linear"):
        raise Refused(f"has mode '{mode}'", "use nearest or linear")
    if coordinates not in COORDINATE_MODES:
        raise Refused(
            f"has coordinate_transformation_mode '{coordinates}'",
            "use half_pixel, align_corners or asymmetric",
        )
    if nearest_mode not in NEAREST_MODES:
        raise Refused(f"has nearest_mode '{nearest_mode}'", "use floor or round_prefer_floor")
    given = sizes if sizes else scales
    if given is None or len(given) != 4:
        raise Refused(f"gives {len(given or [])} sizes for 4 axes", "export it again")
    if sizes:
        full = sizes
        exact = [Fraction(m, n) for n, m in zip(shape, full, strict=True)]
    else:
        factors = scales or []
        for value in factors:
            if not 0 < value <= MAX_SIZE:
                raise Refused(
                    f"has the scale {value}", f"export with scales between 0 and {MAX_SIZE}"
                )
        full = [_scaled(n, f) for n, f in zip(shape, factors, strict=True)]
        triples = zip(factors, shape, full, strict=True)
        exact = [exact_scale(f, n, m) for f, n, m in triples]
    if max(full) > MAX_SIZE:
        raise Refused(f"its result {full} is too large", "export the model again")
    if exact[0] != 1 or exact[1] != 1:
        raise Refused("resizes the batch or channel axis", "resize height and width only")
    if min(full) < 1:
        raise Refused(f"its result {full} is empty", "use a larger input")
    ties = mode == "linear" or nearest_mode in ("ceil", "round_prefer_ceil")
    kept = any(scale == 1 and n > 1 for n, scale in zip(shape[2:], exact[2:], strict=True))
    if coordinates == "tf_half_pixel_for_nn" and ties and kept:
        raise Refused(
            "keeps an axis with tf_half_pixel_for_nn, which ONNX shifts and onnxruntime does not",
            "use half_pixel, align_corners or asymmetric",
        )
    if nearest_mode == "simple" and mode == "nearest" and min(exact) < 1:
        raise Refused("shrinks by the loose rules of opset 10", "export with opset 11 or later")
    return _Plan((full[2], full[3]), (exact[2], exact[3]), mode, coordinates, nearest_mode)


def _scaled(size: int, factor: float) -> int:
    """floor(size * factor) in the float32 that the scale is stored in."""
    return int(np.floor(np.float32(size) * np.float32(factor)))


def _apply(call: Call, shape: tuple[int, ...], plan: _Plan) -> list[Value]:
    few = shape[1] <= HOST_CHANNELS and plan.mode == "linear"
    many = shape[1] * plan.size[0] * plan.size[1] > HOST_ELEMENTS
    large = min(plan.scales) >= HOST_FACTOR and (few or many)
    if isinstance(call.values[0], HostValue) or (call.tail and large):
        tail = tail_of(call)
        value = tail.run(
            "resize", tail.of(call.values[0]), size=list(plan.size), mode=plan.mode,
            coordinate_transformation_mode=plan.coordinates, nearest_mode=plan.nearest_mode,
            scales=[float(s) for s in plan.scales],
        )  # fmt: skip
        return [value]
    x: Feature = call.map()
    if plan.size == (shape[2], shape[3]) and plan.scales == (1, 1):
        return [x]
    rows = [
        resize_rows(n, m, s, plan.mode, plan.coordinates, plan.nearest_mode)
        for n, m, s in zip(shape[2:], plan.size, plan.scales, strict=True)
    ]
    y, x_table = (axis_table(n, exact) for n, exact in zip(shape[2:], rows, strict=True))
    tensor = call.builder.add(
        Resample, call.output, (shape[1], *plan.size), call.name, input=x.tensor, y=y, x=x_table,
        error=max(table_error(y, rows[0]), table_error(x_table, rows[1])),
    )  # fmt: skip
    return call.result(tensor)
