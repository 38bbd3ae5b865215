"""NNgen's side of the comparison; runs in NNgen's own virtual environment.

    python nngen_peer.py MODEL.onnx INPUT.npy FOLDER

Writes FOLDER/test.v (accelerator, memory and test bench, as NNgen's examples build them),
FOLDER/memory.hex and FOLDER/facts.json. One defect of NNgen 1.3.4 is mended from outside: its
concatenation passes more than two operands to an adder of two.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from pathlib import Path

import nngen as ng
import numpy as np
import veriloggen
import veriloggen.thread as vthread
from veriloggen.types import axi

BUS_BITS = 128
PAR_IN, PAR_OUT, PAR_OUT_1X1 = 8, 4, 32  # 288 multipliers for 3x3; NNgen wants powers of two
MEMORY_BITS = 22  # of a byte address
CHUNK = 64  # bytes: alignment of the weights, which NNgen puts behind input and result

_add = veriloggen.Add
veriloggen.Add = lambda *operands: functools.reduce(_add, operands)


def chunk(address: int) -> int:
    """Rounded up to whole chunks."""
    return -(-address // CHUNK) * CHUNK


def main(model: Path, picture: Path, folder: Path) -> None:
    """Generate everything."""
    outputs, placeholders, _, _, operators = ng.from_onnx(
        str(model),
        value_dtypes={},
        default_placeholder_dtype=ng.int8,
        default_variable_dtype=ng.int8,
        default_constant_dtype=ng.int8,
        default_operator_dtype=ng.int8,
        default_scale_dtype=ng.int32,
        default_bias_dtype=ng.int32,
        disable_fusion=False,
    )
    image = np.load(picture)[None]
    scale = 127.0 / float(np.abs(image).max())
    ng.quantize(list(outputs.values()), input_scale_factors={"image": scale})
    for operator in operators.values():
        if isinstance(operator, ng.conv2d):
            small = operator.args[1].shape[1] == 1
            operator.attribute(
                par_ich=PAR_IN,
                par_och=PAR_OUT_1X1 if small else PAR_OUT,
                cshamt_out=operator.cshamt_out,
            )
    design = ng.to_veriloggen(
        list(outputs.values()), "peer", silent=True, config={"maxi_datawidth": BUS_BITS}
    )
    result, source = outputs["result"], placeholders["image"]
    stored = np.clip(np.round(image * scale), -128, 127).astype(np.int64).transpose(0, 2, 3, 1)
    reference = ng.eval([result], image=stored)[0]
    weights = ng.export_ndarray([result], CHUNK)
    at = chunk(max(result.addr + result.memory_size, source.addr + source.memory_size))
    scratch = chunk(at + len(weights))
    words = np.zeros((1 << MEMORY_BITS) // 4, np.int64)
    axi.set_memory(words, stored, 32, 8, source.addr, max(BUS_BITS // 8, PAR_IN))
    axi.set_memory(words, weights, 32, 8, at)
    os.chdir(folder)
    Path("test.v").write_text(bench(design, words, scratch, result))
    facts = {
        "reference": [int(v) for v in reference.transpose(0, 3, 1, 2).reshape(-1)],
        "shape": [int(reference.shape[k]) for k in (3, 1, 2)],
        "scale": float(result.scale_factor),
        "aligned_channels": int(result.get_aligned_shape()[-1]),
        "result_bytes": int(result.memory_size),
    }
    Path("facts.json").write_text(json.dumps(facts))


def bench(design, words: np.ndarray, scratch: int, result) -> str:
    """Verilog of the test bench; it prints cycles and beats and dumps the result."""
    m = veriloggen.Module("test")
    m.copy_params(design)
    ports = m.copy_sim_ports(design)
    clock, reset_n = ports["CLK"], ports["RESETN"]
    reset = m.Wire("RST")
    reset.assign(veriloggen.Not(reset_n))
    # latency, stalls and the number of bursts at a time are AxiMemoryModel's defaults
    memory = axi.AxiMemoryModel(
        m, "memory", clock, reset, datawidth=BUS_BITS, memimg=words, memimg_name="memory.hex",
        memimg_datawidth=32, mem_addrwidth=MEMORY_BITS,
    )  # fmt: skip
    memory.connect(ports, "maxi")
    control = vthread.AXIMLite(m, "control", clock, reset, noio=True)
    control.connect(ports, "saxi")
    cycles = m.Reg("cycle_counter", 32, initval=0)
    read = m.Reg("read_beats", 32, initval=0)
    written = m.Reg("write_beats", 32, initval=0)
    seq = veriloggen.Seq(m, "count", clock, reset)
    seq(cycles.inc())
    seq.If(ports["maxi_rvalid"], ports["maxi_rready"])(read.inc())
    seq.If(ports["maxi_wvalid"], ports["maxi_wready"])(written.inc())

    def run():
        ng.sim.set_global_addrs(control, scratch)
        begin = cycles.value
        ng.sim.start(control)
        ng.sim.wait(control)
        end = cycles.value
        print("cycles %d" % (end - begin))  # noqa: UP031, compiled to $display
        print("read_beats %d" % read.value)  # noqa: UP031
        print("write_beats %d" % written.value)  # noqa: UP031
        vthread.finish()

    vthread.Thread(m, "run", clock, reset, run).start()
    m.Instance(design, "dut", params=m.connect_params(design), ports=m.connect_ports(design))
    veriloggen.simulation.setup_clock(m, clock, hperiod=5)
    veriloggen.simulation.setup_reset(m, reset_n, m.make_reset(), period=100, polarity="low")
    last = result.addr + math.ceil(result.memory_size) - 1
    dump = f'begin $writememh("result.hex", _memory_mem, {result.addr}, {last}); $finish; end'
    return m.to_verilog().replace("$finish;", dump)


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:4]))
