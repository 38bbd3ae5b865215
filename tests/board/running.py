"""A build directory of a tiny network for the small engine, and virtual boards of it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpga_gen.board.server import BoardServer
from fpga_gen.builddir.artifacts import to_json, write_build
from fpga_gen.builddir.layout_file import host_layout
from fpga_gen.flows.board import BoardFlow
from fpga_gen.generated import engine_verilog
from fpga_gen.identity import seal
from fpga_gen.quant.ir import QuantGraph
from fpga_gen.quant.serialise import quant_graph_bytes
from fpga_gen.schedule.compile import compile_schedule
from fpga_gen_host.registers import INTERFACE_VERSION
from tests.board.network import PREPROCESS
from tests.engines import SMALL

ROOT = Path(__file__).resolve().parents[2]
COUNT = itertools.count(1)


def write_board_build(path: Path, graph: QuantGraph) -> Path:
    """A build directory as `fpga-gen build` leaves it, reports apart."""
    schedule = compile_schedule(graph, SMALL)
    verilog, identity = seal(engine_verilog(SMALL), SMALL)
    files = {f"rtl/{n}": text.encode() for n, text in verilog.items()}
    files |= {
        "program.bin": schedule.program,
        "weights.bin": schedule.weights,
        "quantised.npz": quant_graph_bytes(graph),
        "layout.json": to_json(host_layout(schedule, graph, PREPROCESS)),
    }
    facts = {
        "design_hash": f"{identity.design_hash:016x}",
        "identity": identity.to_dict(),
        "register_map": INTERFACE_VERSION,
        "clock_mhz": 100.0,
        "memory_bytes_per_cycle": 51.2,
        "parameters": SMALL.to_dict(),
        "board": {"name": "zcu104"},
    }
    write_build(path, files, facts)
    return path


@dataclass(frozen=True, eq=False)
class Running:
    """A virtual board that serves at `address`."""

    address: str
    flow: BoardFlow
    server: BoardServer

    @property
    def folder(self) -> Path:
        return self.flow.directory

    def client(self, code: str, *arguments: object) -> Any:
        """Runs Python code in a fresh process that sees this board; it prints JSON at the end.

        pynq looks at its environment when it is imported, so every client is a process.
        """
        done = run_client(self.address, code, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])


def free_address() -> str:
    """A loopback address of this test run: pynq's port is the same for all boards."""
    number = os.getpid() * 256 + next(COUNT)  # other processes run tests at the same time
    return f"127.{1 + number % 250}.{number // 250 % 250}.{2 + number // 62500 % 250}"


def run_client(
    address: str, code: str, *arguments: object, seconds: float = 120
) -> subprocess.CompletedProcess[str]:
    """A process with the host package and pynq, told to use the board at `address`."""
    environment = {
        **os.environ,
        "PYNQ_REMOTE_DEVICES": address,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "host"))),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)


@dataclass(frozen=True, eq=False)
class BoardProcess:
    """`fpga-gen board` in a process of its own. lines: what it printed until it was up."""

    address: str
    folder: Path
    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def resident_bytes(self) -> int:
        """Memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def start_process(folder: Path, *options: str) -> BoardProcess:
    """Starts the command and waits until the board is up."""
    address = free_address()
    command = [sys.executable, "-m", "fpga_gen", "board", str(folder), "--address", address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [*command, *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "PYNQ_REMOTE_DEVICES" in line:
            return BoardProcess(address, folder, process, lines)
    assert process.stderr is not None
    raise AssertionError(f"no board: {process.stderr.read()[-2000:]}")
