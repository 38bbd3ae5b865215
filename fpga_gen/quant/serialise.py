"""A QuantGraph as one .npz file: JSON for the structure, arrays beside it, no pickle.

The file is byte-deterministic: entries in a fixed order with a fixed time stamp.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.numerics import FORMATS, Sp2Code
from fpga_gen.errors import BuildDirError
from fpga_gen.graph.ir import AxisTable, HostInput, HostOp
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QConvTerm,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QTensor,
    QuantGraph,
)

VERSION = 2
STRUCTURE = "structure.json"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file can hold
NODES = {c.__name__: c for c in (QMaxPool, QResample, QAdd, QMul)}
ARRAYS = {"bias": np.int32, "mult": np.int32, "shift": np.int32}


def save_quant_graph(qgraph: QuantGraph, path: Path) -> None:
    """Write a QuantGraph; equal graphs give equal bytes."""
    arrays: dict[str, np.ndarray] = {}
    structure = {
        "version": VERSION,
        "name": qgraph.name,
        "input": qgraph.input,
        "outputs": qgraph.outputs,
        "output_names": qgraph.output_names,
        "sp2": asdict(qgraph.sp2),
        "host_input": asdict(qgraph.host_input),
        "host_ops": [asdict(o) for o in qgraph.host_ops],
        "facts": qgraph.facts,
        "tensors": [{**asdict(t), "format": t.format.name} for t in qgraph.tensors.values()],
        "nodes": [_node_out(i, n, arrays) for i, n in enumerate(qgraph.nodes)],
    }
    text = json.dumps(structure, indent=1, sort_keys=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, STRUCTURE, text.encode())
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), allow_pickle=False)
            _write(archive, name + ".npy", data.getvalue())


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, TIMESTAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data, compresslevel=1)


def _node_out(index: int, node: QNode, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if isinstance(node, QMaxPool):
        return {"type": "QMaxPool", **asdict(node)}
    epilogue = {"epilogue": node.epilogue.to_dict()}
    if not isinstance(node, QConv):
        return {"type": type(node).__name__, **asdict(node), **epilogue}
    terms = []
    for number, term in enumerate(node.terms):
        arrays[f"{index}.weight{number}"] = term.weight
        terms.append({k: getattr(term, k) for k in ("inputs", "stride", "pads", "dilation")})
    for name in ARRAYS:
        arrays[f"{index}.{name}"] = getattr(node, name)
    plain = {k: getattr(node, k) for k in ("name", "output", "wide", "onnx_name")}
    return {"type": "QConv", "terms": terms, **plain, **epilogue}


def load_quant_graph(path: Path) -> QuantGraph:
    """Read what `save_quant_graph` wrote; BuildDirError if it is missing, old or corrupted."""
    remedy = "build again"
    try:
        with zipfile.ZipFile(path) as archive:
            structure = json.loads(archive.read(STRUCTURE))
            if structure["version"] != VERSION:
                raise BuildDirError(
                    f"{path}: quantised network of version {structure['version']}, this program "
                    f"reads version {VERSION}: {remedy}"
                )
            arrays = {
                n.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(n)), allow_pickle=False
                )
                for n in archive.namelist()
                if n != STRUCTURE
            }
        return _graph_in(structure, arrays)
    except FileNotFoundError:
        raise BuildDirError(f"{path}: no quantised network here: {remedy}") from None
    except (
        zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError,
        RuntimeError, AttributeError, struct.error,
    ) as error:  # fmt: skip
        detail = f"{type(error).__name__}: {error}"
        raise BuildDirError(f"{path}: corrupted quantised network ({detail}): {remedy}") from error


def _tuples(value: Any) -> Any:
    """JSON lists back to the tuples of the IR."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _graph_in(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> QuantGraph:
    tensors = {}
    for entry in data["tensors"]:
        fields = {k: _tuples(v) for k, v in entry.items()}
        tensors[entry["name"]] = QTensor(**{**fields, "format": FORMATS[entry["format"]]})
    nodes = tuple(_node_in(i, n, arrays) for i, n in enumerate(data["nodes"]))
    for node in nodes:
        for name in (*node.inputs, node.output):
            if name not in tensors:
                raise ValueError(f"node '{node.name}' uses unknown tensor '{name}'")
        if not isinstance(node, QMaxPool) and node.epilogue.format != tensors[node.output].format:
            raise ValueError(f"node '{node.name}' writes a format that its output does not have")
    return QuantGraph(
        name=data["name"],
        input=data["input"],
        outputs=_tuples(data["outputs"]),
        tensors=tensors,
        nodes=nodes,
        sp2=Sp2Code(**{k: _tuples(v) for k, v in data["sp2"].items()}),
        host_input=HostInput(**{k: _tuples(v) for k, v in data["host_input"].items()}),
        host_ops=tuple(HostOp(**o) for o in data["host_ops"]),
        output_names=_tuples(data["output_names"]),
        facts=data["facts"],
    )


def _node_in(index: int, data: dict[str, Any], arrays: dict[str, np.ndarray]) -> QNode:
    fields = {k: _tuples(v) for k, v in data.items() if k != "type"}
    if data["type"] != "QMaxPool":
        fields["epilogue"] = Epilogue.from_dict(data["epilogue"])
    if data["type"] != "QConv":
        for axis in ("y", "x"):
            if axis in fields:
                fields[axis] = AxisTable(**{k: _tuples(v) for k, v in data[axis].items()})
        return NODES[data["type"]](**fields)
    terms = []
    for number, term in enumerate(data["terms"]):
        weight = arrays[f"{index}.weight{number}"]
        if weight.dtype != np.int8 or weight.ndim != 4:
            raise ValueError(f"weights of '{data['name']}' are not int8 of rank 4")
        terms.append(QConvTerm(weight=weight, **{k: _tuples(v) for k, v in term.items()}))
    for name, dtype in ARRAYS.items():
        fields[name] = arrays[f"{index}.{name}"]
        if fields[name].dtype != dtype or fields[name].shape != (terms[0].weight.shape[0],):
            raise ValueError(f"{name} of '{data['name']}' has a wrong type or shape")
    return QConv(**{**fields, "terms": tuple(terms)})
