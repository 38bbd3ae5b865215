"""Values that the host computes: how operators of the tail are collected, and engine maps on the
way there. Shapes and types are those that the operator itself gives for zeros."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fpga_gen.frontend.call import Call
from fpga_gen.frontend.problems import Refused
from fpga_gen.frontend.values import Builder, Feature, HostValue, Value, native_shape, unique
from fpga_gen.frontend.view import View, nested, outside
from fpga_gen.graph.ir import TensorHint
from fpga_gen_host.host_kinds import MAX_CONSTANT, constant_attributes
from fpga_gen_host.host_ops import HostOp, run_host_op

MAX_RESULT = 1 << 26  # elements of a value on the host


class TailBuilder:
    """Appends operators of one ONNX node to the tail."""

    def __init__(self, builder: Builder, op: str, onnx_name: str, output: str) -> None:
        self.builder, self.op, self.onnx_name, self.output = builder, op, onnx_name, output

    def run(self, kind: str, *inputs: HostValue, **attributes) -> HostValue:
        """The value of an operator of `kind` on values of the host."""
        name = unique(f"{self.output}", self.builder.host_names | set(self.builder.tensors))
        op = HostOp(kind, name, attributes, self.onnx_name, tuple(v.name for v in inputs))
        self._check_size(attributes)
        try:
            zeros = [np.zeros(v.shape, v.dtype) for v in inputs]
            # Of zeros all boxes stay, each compared with all others: none are asked for.
            trial = replace(op, attributes={**attributes, "most": 0}) if kind == "suppress" else op
            result = run_host_op(trial, *zeros)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Refused(f"cannot run on the host: {error}", "export the model again") from None
        if result.size > MAX_RESULT:
            raise Refused(f"its result {result.shape} is too large", "export the model again")
        dtype = {"f": "float32", "i": "int64", "u": "int64", "b": "bool"}[result.dtype.kind]
        self.builder.host_names.add(name)
        self.builder.host_ops.append(op)
        return HostValue(name, result.shape, dtype, self.op)

    def _check_size(self, attributes: dict) -> None:
        """Refuse what would be too large before it is made."""
        size = math.prod(attributes.get("size", attributes.get("shape", ())))
        if size > MAX_RESULT or max(attributes.get("repeats", (0,))) > MAX_RESULT:
            raise Refused(f"its result of {size} elements is too large", "export the model again")

    def of(self, value: Value | None) -> HostValue:
        """Any value as one of the host."""
        match value:
            case HostValue():
                return value
            case np.ndarray():
                if value.size > MAX_CONSTANT:
                    raise Refused(
                        f"its constant of {value.size} elements is too large for the host",
                        "export the model again",
                    )
                if value.dtype.name == "bfloat16":
                    value = value.astype(np.float32)
                if value.dtype.kind not in "fiub":
                    raise Refused(f"has a constant of {value.dtype}", "export the model again")
                return self.run("constant", **constant_attributes(value))
            case Feature():
                return self._whole(value)
            case View():
                return self._view(value)
        raise Refused("lacks an input", "export the model again")

    def levels(self, value: HostValue, hint: TensorHint) -> HostValue:
        """The integers (as int64) of real numbers, by the rules of QuantizeLinear."""
        least = -(2 ** (hint.bits - 1)) if hint.signed else 0
        scale, zero = (np.array(v, np.float32) for v in (hint.scale, hint.zero_point))
        steps = self.run("round", self.run("div", value, self.of(scale)))
        steps = self.run("add", steps, self.of(zero))
        steps = self.run("clip", steps, lo=float(least), hi=float(least + 2**hint.bits - 1))
        return self.run("cast", steps, dtype="int64")

    def _map(self, tensor: str) -> HostValue:
        return HostValue(tensor, (1, *self.builder.shape(tensor)), origin=self.op)

    def _whole(self, value: Feature) -> HostValue:
        source = self._map(value.tensor)
        if value.shape == native_shape(self.builder, value):
            return source
        return self.run("reshape", source, shape=list(value.shape))

    def _view(self, view: View) -> HostValue:
        """A view of the maps that it reads, which alone lie one behind the other on the host."""
        builder = self.builder
        axis, owners = self._owners(view)
        names = [builder.order[n] for n in np.unique(owners)]
        shifts, base = {}, 0
        for name in names:
            shifts[name] = base - builder.base(name)
            base += math.prod(builder.shape(name))
        moved = view.axes[axis].copy()
        moved[~outside(moved)] += [shifts[builder.order[n]] for n in owners]
        axes = (*view.axes[:axis], moved, *view.axes[axis + 1 :])
        sources, counters = [self._map(name) for name in names], nested(View(axes))
        if counters is not None:
            start, sizes, steps = counters
            return self.run(
                "view", *sources, start=start, sizes=sizes, steps=steps, shape=list(view.shape)
            )
        lists = [np.maximum(a, -(1 << 40)).tolist() for a in axes]  # JSON holds 53 bits
        return self.run("view", *sources, axes=lists)

    def _owners(self, view: View) -> tuple[int, np.ndarray]:
        """(axis, number of the map of each of its entries) of an axis whose entries each lead to
        one map."""
        bases = np.array(self.builder.bases)
        insides = [a[~outside(a)] for a in view.axes]
        if not all(a.size for a in insides):
            raise Refused("is a map of zeros alone", "remove it")
        for k, axis in enumerate(insides):
            rest = [a for j, a in enumerate(insides) if j != k]
            low, high = sum(int(a.min()) for a in rest), sum(int(a.max()) for a in rest)
            first = np.searchsorted(bases, axis + low, side="right") - 1
            last = np.searchsorted(bases, axis + high, side="right") - 1
            if (first == last).all():
                return k, first
        raise Refused("gathers elements of several maps", "cut the model before it")


def tail_of(call: Call) -> TailBuilder:
    """Where the operators of a node go."""
    return TailBuilder(call.builder, call.op, call.name, call.output or "value")
