"""Nodes whose tensors are no maps (1, C, H, W), done on maps: one axis more for windows over one
dimension, channels to the front for what works element by element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper

from fpga_gen.frontend.call import Call, shown
from fpga_gen.frontend.gather import NO_PADS, as_map, channels_of, materialised
from fpga_gen.frontend.layout import ViewLayout, layouts
from fpga_gen.frontend.ops_resize import over_all_axes
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Feature, HostValue, Quantised, Value
from fpga_gen.frontend.view import View, reshaped, taken

Operator = Callable[[Call], list[Value]]

# Every element of the result depends on those in its place alone (and on constants).
ELEMENTWISE = frozenset(
    """Abs Add Celu Clip Div Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Max Min Mish Mul
    Neg PRelu Pow Quant QuantizeLinear Reciprocal Relu Selu Sigmoid Softplus Softsign Sqrt Sub Sum
    Swish Tanh ThresholdedRelu""".split()
)
WINDOWED = frozenset(
    """AveragePool BatchNormalization Conv ConvTranspose GlobalAveragePool GlobalMaxPool
    GroupNormalization InstanceNormalization LRN MaxPool Resize Upsample""".split()
)
FUSED = frozenset(  # the optimiser fuses them into what computes their operand
    """Celu Clip Elu Gelu HardSigmoid HardSwish LeakyRelu Max Min Mish Mul Neg PRelu Relu Selu
    Sigmoid Softplus Sub Swish Tanh Add Div""".split()
)
PER_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0,
            "output_shape": 1}  # fmt: skip
ORDER = "keep channels in one axis and pixels in the others"


def adapted(call: Call, operator: Operator) -> list[Value]:
    """The results of an operator whatever the form of its tensors."""
    if call.op in WINDOWED:
        value = call.values[0]
        if call.op == "Resize" and isinstance(value, Feature | View):
            call = over_all_axes(call)
        if isinstance(value, Feature | View) and len(value.shape) == 3:
            return _one_dimensional(call, operator)
        if isinstance(value, Feature | View) and _is_column(call, value):
            return _turned(call, operator)
    elif call.op in ELEMENTWISE:
        maps = [v for v in call.values if isinstance(v, Feature | View)]
        rank = max((len(v.shape) for v in maps), default=0)
        for value in call.values:
            if maps and isinstance(value, np.ndarray) and value.ndim > rank:
                raise Refused(
                    f"its constant of shape {list(value.shape)} has more axes than its map",
                    f"give it {rank} axes at most",
                )
        if any(isinstance(v, View) for v in maps):
            return _through_layout(call, operator)
    return operator(call)


def _is_column(call: Call, value: Feature | View) -> bool:
    """Whether a map of one column lies in rows: exporters make maps of sequences in either way."""
    if len(value.shape) != 4 or value.shape[3] != 1 or value.shape[2] == 1:
        return False
    return as_map(call.builder, call.builder.view(value)) is None


def _turned(call: Call, operator: Operator) -> list[Value]:
    """A window over a map of one column as one over a map of one row."""
    view, values = call.view(), list(call.values)
    n, c, length, _ = view.shape
    row = reshaped(view, (n, c, 1, length))
    assert row is not None, "axes of one element are no obstacle"
    values[0] = call.builder.settled(row)
    if call.op in ("Conv", "ConvTranspose") and isinstance(values[1], np.ndarray):
        values[1] = np.ascontiguousarray(values[1].swapaxes(2, 3))
    if call.op in ("Resize", "Upsample"):
        values[1:] = [
            v[[0, 1, 3, 2]] if isinstance(v, np.ndarray) and v.size == 4 else v for v in values[1:]
        ]
    node = onnx.NodeProto()
    node.CopyFrom(call.node)
    for attribute in node.attribute:
        given = list(attribute.ints)
        if attribute.name in PER_AXIS and len(given) == 2:
            attribute.CopyFrom(helper.make_attribute(attribute.name, given[::-1]))
        elif attribute.name == "pads" and len(given) == 4:
            attribute.CopyFrom(helper.make_attribute("pads", [given[i] for i in (1, 0, 3, 2)]))
    results: list[Value] = []
    for result in operator(replace(call, node=node, values=tuple(values))):
        if isinstance(result, Feature | View) and len(result.shape) == 4:
            if result.shape[2] != 1:
                raise Refused("makes several columns of one", ORDER)
            shape = (*result.shape[:2], result.shape[3], 1)
            back = reshaped(call.builder.view(result), shape)
            assert back is not None
            result = call.builder.settled(back)
        results.append(result)
    return results


def _one_dimensional(call: Call, operator: Operator) -> list[Value]:
    """A window over one dimension as one over a map of one row."""
    view, values = call.view(), list(call.values)
    n, c, length = view.shape
    flat = reshaped(view, (n, c, 1, length))
    assert flat is not None, "an axis of one element is no obstacle"
    values[0] = call.builder.settled(flat)
    if call.op in ("Conv", "ConvTranspose") and isinstance(values[1], np.ndarray):
        weight = values[1]
        if weight.ndim != 3:
            raise Refused(f"its kernel has {weight.ndim - 2} dimensions", "export the model again")
        values[1] = weight[:, :, None]
    if call.op in ("Resize", "Upsample"):
        values[1:] = [
            np.insert(v, 2, 1) if isinstance(v, np.ndarray) and v.size == 3 else v
            for v in values[1:]
        ]
    node = onnx.NodeProto()
    node.CopyFrom(call.node)
    for attribute in node.attribute:
        given = list(attribute.ints)
        if attribute.name in PER_AXIS and len(given) == 1:
            wide = [PER_AXIS[attribute.name], *given]
        elif attribute.name == "pads" and len(given) == 2:
            wide = [0, given[0], 0, given[1]]
        else:
            continue
        attribute.CopyFrom(helper.make_attribute(attribute.name, wide))
    results: list[Value] = []
    for result in operator(replace(call, node=node, values=tuple(values))):
        if isinstance(result, Feature | View) and len(result.shape) == 4:
            back = reshaped(call.builder.view(result), (*result.shape[:2], *result.shape[3:]))
            assert back is not None
            result = call.builder.settled(back)
        results.append(result)
    return results


def _through_layout(call: Call, operator: Operator) -> list[Value]:
    """An operator on maps into which its operands are brought, and its result brought back."""
    builder = call.builder
    views = {i: builder.view(v) for i, v in enumerate(call.values)
             if isinstance(v, Feature | View)}  # fmt: skip
    rank = max(len(v.shape) for v in views.values())
    if any(len(v.shape) < rank for v in views.values()):
        for i, view in views.items():
            wider = reshaped(view, (1,) * (rank - len(view.shape)) + view.shape)
            assert wider is not None
            views[i] = wider
    full = max(views.values(), key=lambda v: int(np.prod(v.shape)))
    try:
        common = np.broadcast_shapes(*(v.shape for v in views.values()))
    except ValueError:
        shapes = ", ".join(shown(v.shape) for v in views.values())
        raise Refused(f"combines maps of shapes {shapes}", "export the model again") from None
    if common == full.shape:
        for layout in layouts(builder, full, tuple(dict.fromkeys((min(1, rank - 1), rank - 1)))):
            if len(views) == 1 and call.op in FUSED:
                result = _on_whole_maps(call, layout, full, operator)
                if result is not None:
                    return [result]
            values = _in_layout(call, layout, views, rank)
            if values is None:
                continue
            results = [_back(call, layout, r) for r in operator(replace(call, values=values))]
            if all(r is not None for r in results):
                return [r for r in results if r is not None]
    raise Refused(f"works on maps of shape {shown(full.shape)} in a mixed order", ORDER)


def _on_whole_maps(call: Call, layout: ViewLayout, view: View, operator: Operator) -> Value | None:
    """The result of an operator of one operand that is most of some maps: it works on all of them,
    and the part is taken of the result, so that it can be fused with what computes them."""
    moved = layout.forward(view)
    found = None if moved is None else as_map(call.builder, moved)
    if found is None or found.pads != NO_PADS or found.is_selection:
        return None
    (phase, *others), (height, width) = found.phases, found.size
    if others:
        return None
    if len(phase.index) < found.shape[1]:
        return None
    if 2 * len(found.rows) * len(found.columns) < height * width:
        return None
    source = channels_of(call.builder, phase.channels, f"{call.output}.in", call.name)
    whole = Feature(source, (1, found.shape[1], height, width))
    index = next(i for i, v in enumerate(call.values) if isinstance(v, Feature | View))
    values = [layout.constant(v, len(view.shape))
              if isinstance(v, np.ndarray) and v.size > 1 and v.ndim <= len(view.shape) else v
              for v in call.values]  # fmt: skip
    values[index] = whole
    (result,) = operator(replace(call, values=tuple(values)))
    if not isinstance(result, Feature | View):
        return None
    part = taken(call.builder.view(result), 2, phase.row + found.rows)
    back = layout.backward(taken(part, 3, phase.column + found.columns))
    return None if back is None else call.builder.settled(back)


def _in_layout(
    call: Call, layout: ViewLayout, views: dict[int, View], rank: int
) -> tuple[Value | None, ...] | None:
    """The operands as maps and constants for maps; None if one is no map in this layout."""
    values = list(call.values)
    for i, view in views.items():
        moved = layout.forward(view)
        if moved is None:
            return None
        found = materialised(call.builder, moved, f"{call.output}.in{i}", call.name)
        if found is None:
            return None
        values[i] = found
    quantising = call.op.endswith("QuantizeLinear") or call.op == "Quant"  # by constants
    for i, value in enumerate(values):
        if isinstance(value, np.ndarray) and value.size > 1 and not quantising:
            if value.ndim > rank:
                return None
            values[i] = layout.constant(value, rank)
    return tuple(values)


def _back(call: Call, layout: ViewLayout, result: Value) -> Value | None:
    if isinstance(result, Quantised):
        inner = _back(call, layout, result.value)
        known = isinstance(inner, Feature | View | HostValue)
        return Quantised(inner, result.hint) if known else None
    if not isinstance(result, Feature | View):
        return result
    view = layout.backward(call.builder.view(result))
    return None if view is None else call.builder.settled(view)
