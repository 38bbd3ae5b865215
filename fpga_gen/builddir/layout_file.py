"""layout.json: all that the host and the simulator need to feed a program and read its results.

It holds the input and output regions, the scales and formats of their maps, the preparation of
pictures, the operators left to the host, and the names of the program's instructions.
"""

from __future__ import annotations

from dataclasses import asdict

from fpga_gen.images import Preprocess
from fpga_gen.quant.ir import QTensor, QuantGraph
from fpga_gen.schedule.program import Schedule
from fpga_gen_host.regions import to_json as region_to_json

VERSION = 1


def _tensor(tensor: QTensor) -> dict:
    return {
        "name": tensor.name,
        "shape": [tensor.channels, tensor.height, tensor.width],
        "scale": tensor.scale,
        "format": asdict(tensor.format),
    }


def host_layout(schedule: Schedule, qgraph: QuantGraph, preprocess: Preprocess) -> dict:
    """JSON-able layout of one program. real = scale * (stored - format.zero)."""
    stream_word = schedule.params.stream_bits // 8
    return {
        "version": VERSION,
        "regions": {
            "program_bytes": len(schedule.program),
            "program_stream_words": len(schedule.program) // stream_word,
            "weights_bytes": len(schedule.weights),
            "input_bytes": schedule.host_input.bytes,
            "output_bytes": schedule.host_output.bytes,
        },
        "cycles": schedule.estimate.cycles,  # of a frame: the driver limits it to a multiple
        "input": region_to_json(schedule.host_input),
        "output": region_to_json(schedule.host_output),
        "tensors": {
            "input": _tensor(qgraph.tensors[qgraph.input]),
            "outputs": [_tensor(qgraph.tensors[name]) for name in qgraph.outputs],
        },
        "output_names": list(qgraph.output_names),
        "host_input": asdict(qgraph.host_input),
        "host_ops": [asdict(op) for op in qgraph.host_ops],
        "preprocess": preprocess.to_dict(),
        # (operation, layer) in the order of the hardware's log, which leaves FETCH and PAGE out.
        "instructions": [
            [i.op.name.lower(), i.layer] for i in schedule.instructions if not i.DECODED
        ],
    }
