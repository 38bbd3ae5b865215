"""Why an operator that the engine has not is refused, and what to do about it."""

from __future__ import annotations

import onnx

from fpga_gen.frontend.problems import Refused

REMEDY = "replace it by supported operators, or cut the model before it"
MEASURES = "divides by a deviation that it measures in every frame"
BATCH_NORM = "train with BatchNormalization instead, whose statistics are constants"
QDQ = "export the float model, or quantise it statically in QDQ format"
RECURRENT = ("carries a state from step to step", "use convolutions over time instead")
CONTROL = ("decides in every frame what is computed", "export without control flow")

REASONS: dict[str, tuple[str, str]] = {
    "Attention": ("multiplies two feature maps", "use convolutions instead"),
    "ConvInteger": ("leaves the scales of integers to later operators", QDQ),
    "DeformConv": ("reads pixels at places that the frame decides", "use Conv instead"),
    "DynamicQuantizeLinear": ("measures its scale in every frame", QDQ),
    "Einsum": ("sums products by an equation", "write it as MatMul, Transpose and Reshape"),
    "GRU": RECURRENT,
    "GridSample": ("reads pixels at places that the frame decides", "use Resize instead"),
    "GroupNormalization": (MEASURES, BATCH_NORM),
    "GroupQueryAttention": ("multiplies two feature maps", "use convolutions instead"),
    "If": CONTROL,
    "InstanceNormalization": (MEASURES, BATCH_NORM),
    "LSTM": RECURRENT,
    "LayerNormalization": (MEASURES, BATCH_NORM),
    "Loop": CONTROL,
    "LpNormalization": (
        "divides by a norm that it measures in every frame",
        "leave it to the end of the network (ReduceL2 and Div), where the host does it",
    ),
    "LpPool": ("sums powers", "use AveragePool or MaxPool"),
    "MatMulInteger": ("leaves the scales of integers to later operators", QDQ),
    "MaxRoiPool": ("pools at places that the frame decides", "cut the model before it"),
    "MaxUnpool": ("puts values at places that the frame decides", "use ConvTranspose or Resize"),
    "MeanVarianceNormalization": (MEASURES, BATCH_NORM),
    "MultiHeadAttention": ("multiplies two feature maps", "use convolutions instead"),
    "RNN": RECURRENT,
    "ReduceL2": (
        "takes a root",
        "leave it to the end of the network, where the host does it",
    ),
    "RoiAlign": ("pools at places that the frame decides", "cut the model before it"),
    "Scan": CONTROL,
    "SimplifiedLayerNormalization": (MEASURES, BATCH_NORM),
}


def unsupported(node: onnx.NodeProto) -> Refused:
    """Of an operator that neither the engine nor the host has."""
    domain = f" of domain '{node.domain}'" if node.domain else ""
    reason, remedy = REASONS.get(node.op_type, ("", REMEDY))
    why = f": it {reason}" if reason else ""
    return Refused(f"operator {node.op_type}{domain} is not supported{why}", remedy)


def misplaced(node: onnx.NodeProto, blocker: str) -> Refused:
    """Of an operator of the host where the engine must go on; blocker: what depends on it."""
    reason, remedy = REASONS.get(node.op_type, ("", ""))
    remedy = remedy or f"only a final {node.op_type} is supported, it runs on the host"
    if not blocker:  # with other constants the host would have it
        return Refused(f"operator {node.op_type} is too large for the host", remedy)
    why = f"; it {reason}" if reason else ""
    return Refused(f"is in the middle of the network ('{blocker}' depends on it){why}", remedy)
