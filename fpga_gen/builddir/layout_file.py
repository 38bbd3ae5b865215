"""The layout.json of a program: regions, scales and formats of the maps at its ends, preparation of
pictures, operators left to the host, names of its instructions."""

from __future__ import annotations

from dataclasses import asdict

from fpga_gen.images import Preprocess
from fpga_gen.quant.ir import QTensor, QuantGraph
from fpga_gen.schedule.program import Schedule
from fpga_gen_host.layout_file import (
    LayoutFile,
    PictureOptions,
    RegionSizes,
    StoredFormat,
    StoredTensor,
    Tensors,
)


def _tensor(tensor: QTensor) -> StoredTensor:
    shape = (tensor.channels, tensor.height, tensor.width)
    return StoredTensor(tensor.name, shape, tensor.scale, StoredFormat(**asdict(tensor.format)))


def host_layout(schedule: Schedule, qgraph: QuantGraph, preprocess: Preprocess) -> dict:
    """JSON-able layout of one program, see `LayoutFile`."""
    how = preprocess.preparation
    layout = LayoutFile(
        regions=RegionSizes(
            program_bytes=len(schedule.program),
            program_stream_words=len(schedule.program) // (schedule.params.stream_bits // 8),
            weights_bytes=len(schedule.weights),
            input_bytes=schedule.host_input.bytes,
            output_bytes=schedule.host_output.bytes,
        ),
        cycles=schedule.estimate.cycles,
        input=schedule.host_input,
        output=schedule.host_output,
        tensors=Tensors(
            _tensor(qgraph.tensors[qgraph.input]),
            tuple(_tensor(qgraph.tensors[name]) for name in qgraph.outputs),
        ),
        output_names=qgraph.output_names,
        results=qgraph.results,
        host_input=qgraph.host_input,
        host_ops=qgraph.host_ops,
        preprocess=PictureOptions(preprocess.normalise, how.fit, how.mean, how.std, how.grey),
        # The log leaves FETCH and PAGE out.
        instructions=tuple(
            (i.op.name.lower(), i.layer) for i in schedule.instructions if not i.DECODED
        ),
    )
    return layout.to_json()
