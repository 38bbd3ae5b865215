"""A QuantGraph as one .npz file: JSON for the structure, arrays beside it, no pickle.

The file is byte-deterministic: entries in a fixed order with a fixed time stamp.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from fpga_gen.contract.epilogue import Epilogue
from fpga_gen.contract.numerics import FORMATS, Sp2Code
from fpga_gen.errors import BuildDirError
from fpga_gen.quant.ir import (
    QAdd,
    QConv,
    QConvTerm,
    QInterleave,
    QMaxPool,
    QMul,
    QNode,
    QResample,
    QTensor,
    QuantGraph,
)
from fpga_gen.quant.verify import verify_quant_graph
from fpga_gen_host.decode import decode
from fpga_gen_host.host_ops import HostOp
from fpga_gen_host.model_input import HostInput

VERSION = 4
STRUCTURE = "structure.json"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file can hold
NODES = {c.__name__: c for c in (QMaxPool, QResample, QAdd, QMul, QInterleave)}
MAX_MEMBERS = 100_000
MAX_STRUCTURE = 1 << 26  # bytes
MAX_BYTES = 1 << 30  # of everything, unpacked
ARRAYS = {"bias": np.int32, "mult": np.int32, "shift": np.int32}


def quant_graph_bytes(qgraph: QuantGraph) -> bytes:
    """Content of quantised.npz; equal graphs give equal bytes."""
    arrays: dict[str, np.ndarray] = {}
    structure = {
        "version": VERSION,
        "name": qgraph.name,
        "input": qgraph.input,
        "outputs": qgraph.outputs,
        "output_names": qgraph.output_names,
        "results": qgraph.results,
        "sp2": asdict(qgraph.sp2),
        "host_input": asdict(qgraph.host_input),
        "host_ops": [asdict(o) for o in qgraph.host_ops],
        "facts": qgraph.facts,
        "tensors": [{**asdict(t), "format": t.format.name} for t in qgraph.tensors.values()],
        "nodes": [_node_out(i, n, arrays) for i, n in enumerate(qgraph.nodes)],
    }
    text = json.dumps(structure, indent=1, sort_keys=True)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, STRUCTURE, text.encode())
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), allow_pickle=False)
            _write(archive, name + ".npy", data.getvalue())
    return whole.getvalue()


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, TIMESTAMP)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data, compresslevel=1)


def _node_out(index: int, node: QNode, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if isinstance(node, QMaxPool):
        return {"type": "QMaxPool", **asdict(node)}
    epilogue = {"epilogue": {**asdict(node.epilogue), "format": node.epilogue.format.name}}
    if not isinstance(node, QConv):
        return {"type": type(node).__name__, **asdict(node), **epilogue}
    terms = []
    for number, term in enumerate(node.terms):
        arrays[f"{index}.weight{number}"] = term.weight
        terms.append(
            {k: getattr(term, k) for k in ("inputs", "stride", "pads", "dilation", "low", "asked")}
        )
    for name in ARRAYS:
        arrays[f"{index}.{name}"] = getattr(node, name)
    plain = {k: getattr(node, k) for k in ("name", "output", "wide", "onnx_name")}
    return {"type": "QConv", "terms": terms, **plain, **epilogue}


def load_quant_graph(data: bytes, path: Path) -> QuantGraph:
    """Reads what `quant_graph_bytes` made; path: where it comes from, for the message.

    Nothing is unpacked before its length is known and found possible.

    Raises:
        BuildDirError: old, corrupted, or a network that breaks the rules of quant/verify.py.
    """
    remedy = "build again"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_lengths(archive)
            structure = json.loads(archive.read(STRUCTURE))
            if structure["version"] != VERSION:
                raise BuildDirError(
                    f"{path}: quantised network of version {structure['version']}, this program "
                    f"reads version {VERSION}: {remedy}"
                )
            arrays = {
                name.removesuffix(".npy"): _array(archive.read(name))
                for name in archive.namelist()
                if name != STRUCTURE
            }
        graph = _graph_in(structure, arrays)
        verify_quant_graph(graph)
    except (
        zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError,
        RuntimeError, AttributeError, IndexError, struct.error, SyntaxError, TokenError,
    ) as error:  # fmt: skip
        detail = f"{type(error).__name__}: {error}"
        raise BuildDirError(f"{path}: corrupted quantised network ({detail}): {remedy}") from error
    return graph


def _check_lengths(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > MAX_BYTES:
        raise ValueError(f"{len(members)} entries of {total:,} bytes in all")
    if archive.getinfo(STRUCTURE).file_size > MAX_STRUCTURE:
        raise ValueError(f"{STRUCTURE} has more than {MAX_STRUCTURE:,} bytes")


def _array(data: bytes) -> np.ndarray:
    """The array of a .npy file, whose header must tell exactly the bytes that follow it."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array is of another version of the .npy format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    content = data[stream.tell() :]
    if fortran or dtype.hasobject or dtype.itemsize * math.prod(shape) != len(content):
        raise ValueError("an array does not fit its header")
    return np.frombuffer(content, dtype).reshape(shape)


@dataclass(frozen=True)
class _Structure:
    """structure.json, tensors and nodes apart."""

    version: int
    name: str
    input: str
    outputs: tuple[str, ...]
    output_names: tuple[str, ...]
    results: tuple[str, ...]
    sp2: Sp2Code
    host_input: HostInput
    host_ops: tuple[HostOp, ...]
    facts: dict
    tensors: tuple[dict, ...]
    nodes: tuple[dict, ...]


@dataclass(frozen=True)
class _Term:
    """A term of a convolution, its weights apart."""

    inputs: tuple[str, ...]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilation: tuple[int, int]
    low: bool
    asked: int


@dataclass(frozen=True)
class _Conv:
    """A convolution, its arrays apart."""

    terms: tuple[_Term, ...]
    name: str
    output: str
    wide: bool
    epilogue: Epilogue
    onnx_name: str


def _graph_in(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> QuantGraph:
    plain = decode(_Structure, data)
    tensors = {}
    for number, entry in enumerate(plain.tensors):
        tensor = decode(QTensor, _with_format(entry), f"tensors[{number}]")
        if tensor.name in tensors:
            raise ValueError(f"two tensors are called '{tensor.name}'")
        tensors[tensor.name] = tensor
    nodes = tuple(_node_in(i, n, arrays) for i, n in enumerate(plain.nodes))
    return QuantGraph(
        name=plain.name,
        input=plain.input,
        outputs=plain.outputs,
        tensors=tensors,
        nodes=nodes,
        sp2=plain.sp2,
        host_input=plain.host_input,
        host_ops=plain.host_ops,
        output_names=plain.output_names,
        facts=plain.facts,
        results=plain.results,
    )


def _with_format(entry: dict) -> dict:
    """An entry that names a format, with the format itself."""
    return {**entry, "format": asdict(FORMATS[entry["format"]])}


def _node_in(index: int, data: dict[str, Any], arrays: dict[str, np.ndarray]) -> QNode:
    where = f"nodes[{index}]"
    fields = {key: value for key, value in data.items() if key != "type"}
    if data["type"] != "QMaxPool":
        fields["epilogue"] = _with_format(data["epilogue"])
    if data["type"] != "QConv":
        return decode(NODES[data["type"]], fields, where)
    plain = decode(_Conv, fields, where)
    if not plain.terms:
        raise ValueError(f"'{plain.name}' has no term")
    terms = []
    for number, term in enumerate(plain.terms):
        weight = arrays[f"{index}.weight{number}"]
        if weight.dtype != np.int8 or weight.ndim != 4:
            raise ValueError(f"weights of '{plain.name}' are not int8 of rank 4")
        if not 0 <= term.asked <= weight.size:
            raise ValueError(f"'{plain.name}' asks for more weights than it has")
        terms.append(QConvTerm(weight=weight, **vars(term)))
    channels = {}
    for name, dtype in ARRAYS.items():
        channels[name] = arrays[f"{index}.{name}"]
        if channels[name].dtype != dtype or channels[name].shape != (terms[0].weight.shape[0],):
            raise ValueError(f"{name} of '{plain.name}' has a wrong type or shape")
    return QConv(**{**vars(plain), "terms": tuple(terms)}, **channels)
