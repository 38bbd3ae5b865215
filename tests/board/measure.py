"""`python -m tests.board.measure BUILD_DIR`: a frame through the virtual board against the bare
simulation, and the pauses of `run_many`. Whole networks take minutes; not part of the test run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fpga_gen.builddir.artifacts import load_build
from fpga_gen.flows.reference import write_references
from fpga_gen.generated import compile_verilog
from fpga_gen.images import write_png
from fpga_gen.phantom import draw_phantom
from fpga_gen.quant.interpreter import run_integer
from fpga_gen.simulate.board_dram import dram_config
from fpga_gen.simulate.runner import Frame, simulate_frame
from fpga_gen_host.regions import pack_input, unpack_output
from tests.board.running import run_client, start_process

CLIENT = """
import json, sys, time
import numpy as np
from fpga_gen_host import Accelerator
stored, count = np.load(sys.argv[2])["input"], int(sys.argv[3])
with Accelerator(sys.argv[1]) as accelerator:
    began = time.monotonic()
    outputs = accelerator.run_stored(stored)
    seconds = time.monotonic() - began
    picture = np.zeros((*accelerator.deployment.model_shape[1:], 3), np.uint8)
    for _ in accelerator.run_many([picture] * count):
        pass
np.savez(sys.argv[4], **outputs)
print(json.dumps({"seconds": seconds, "cpu": time.process_time()}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=2, help="of run_many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "deploy"
        shutil.copytree(options.folder, folder)
        write_png(Path(scratch) / "phantom.png", draw_phantom(352, 352, 100)[0])
        (vector,) = write_references(folder, Path(scratch) / "phantom.png").written
        facts = bare(folder, np.load(vector)["input"]) | board(folder, vector, options.frames)
    facts["slower"] = facts["board_seconds"] / facts["bare_seconds"] - 1
    print(json.dumps(facts, indent=1))
    return 0


def bare(folder: Path, stored: np.ndarray) -> dict:
    """The simulation without board and client, as `fpga-gen simulate` runs it."""
    build = load_build(folder)
    frame = Frame(
        build.program,
        build.weights,
        pack_input(build.layout.input, stored),
        build.layout.output.bytes,
        build.design_hash,
    )
    library = compile_verilog(build)
    cpu = time.process_time()
    done = simulate_frame(
        frame,
        build.params,
        library,
        dram_config(build.clock_mhz, frame, build.memory_rate),
        expected_cycles=3_000_000,
    ).check()
    graph = build.network
    expected = run_integer(graph, stored)
    found = unpack_output(build.layout.output, done.output)
    exact = all(np.array_equal(found[n], expected[n]) for n in graph.outputs)
    return {
        "bare_seconds": done.wall_seconds,
        "bare_cpu": time.process_time() - cpu,
        "bare_cycles": done.cycles,
        "bare_bit_exact": exact,
    }


def board(folder: Path, vector: Path, frames: int) -> dict:
    """The same input through `fpga-gen board`, pynq and the host package."""
    running = start_process(folder)
    try:
        result = folder / "outputs.npz"
        done = run_client(running.address, CLIENT, folder, vector, frames, result, seconds=3600)
        if done.returncode:
            sys.exit(done.stderr)
        told = json.loads(done.stdout)
        ticks = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    finally:
        running.process.send_signal(signal.SIGTERM)
        out, _ = running.process.communicate(timeout=60)
    with np.load(vector) as expected, np.load(result) as found:
        exact = all(np.array_equal(found[n], expected[f"output:{n}"]) for n in found.files)
    numbers = r"frame: ([\d,]+) cycles in ([\d.]+) s(?:, ([\d,]+) after)?"
    log = [tuple(v.replace(",", "") for v in m) for m in re.findall(numbers, out)]
    gaps = [int(gap) for _, _, gap in log[2:]]  # of run_many, its first frame left out
    cycles = int(log[-1][0])
    return {
        "board_seconds": told["seconds"],
        "board_bit_exact": exact,
        "board_cpu_per_frame": (cpu + told["cpu"]) / len(log),
        "frame_seconds": [float(s) for _, s, _ in log],
        "gap_cycles": gaps,
        "gap_share": max(gaps) / cycles if gaps else None,
    }


if __name__ == "__main__":
    sys.exit(main())
