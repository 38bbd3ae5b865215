"""Instructions that the parts of a frame take on the boards' processor, counted by qemu.

    python tools/arm_instructions.py PLUGIN ROOT CPU DEPLOY

PLUGIN: qemu_instructions.c, compiled; ROOT: an arm64 system with Python and NumPy and the source
tree in /src. A part's figure is the difference between two runs that differ in its number alone, so
that Python's start and the tables that are made once do not count. The counter is first held
against a program of 131,074 instructions.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = ("prepare", "finish", "mask", "overlay")  # the last two where the network gives a mask
FEW, MANY = 2, 12  # times
LOOPS = 0xFFFF
# movz x1, #LOOPS; subs x1, x1, #1; b.ne -4; movz x8, #93 (exit); movz x0, #0; svc #0
LOOP = (0xD2800001 | LOOPS << 5, 0xF1000421, 0x54FFFFE1, 0xD2800BA8, 0xD2800000, 0xD4000001)
LOOP_COUNT = 1 + 2 * LOOPS + 3
BASE = 0x400000  # where its program is loaded
A53_HZ = 1.2e9  # of the ZCU104's and of the Kria's application processor, UG1085


def loop_program() -> bytes:
    """An executable file of the instructions `LOOP` alone (ELF, one loaded segment)."""
    code = struct.pack(f"<{len(LOOP)}I", *LOOP)
    start = 64 + 56
    size = start + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 183, 1, BASE + start, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )  # fmt: skip
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 4096)
    return header + segment + code


def counted(command: list[str]) -> int | None:
    """Instructions that qemu has counted, None if the benchmark has no such part; SystemExit with
    its words if the program fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    told = done.stderr.splitlines()
    if "has no such part" in done.stderr:
        return None
    if done.returncode or not told or not told[-1].startswith("instructions "):
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return int(told[-1].split()[1])


def main(plugin: str, root: str, cpu: str, deploy: str) -> None:
    qemu = ["qemu-aarch64", "-cpu", cpu, "-plugin", plugin]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "loop"
        path.write_bytes(loop_program())
        path.chmod(0o755)
        found = counted([*qemu, str(path)])
        if found != LOOP_COUNT:
            raise SystemExit(f"the counter is wrong: {found:,} of {LOOP_COUNT:,} instructions")
    python = [
        *qemu, "-L", root, "-E", f"PYTHONPATH={root}/src/host", "-E", "OPENBLAS_NUM_THREADS=1",
        f"{root}/usr/bin/python3.11", "-m", "fpga_gen_host.benchmark", deploy,
    ]  # fmt: skip
    total = 0
    for part in PARTS:
        few, many = (counted([*python, "--only", part, "--rounds", str(n)]) for n in (FEW, MANY))
        if few is None or many is None:
            continue
        frame = (many - few) // (MANY - FEW)
        total += frame if part != "overlay" else 0
        print(f"  {part:8} {frame / 1e6:9.3f} million instructions", flush=True)
    print(f"  {'total':8} {total / 1e6:9.3f} million without the overlay, which is for display; "
          f"at one a cycle and {A53_HZ / 1e9} GHz {1e3 * total / A53_HZ:.1f} ms")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
