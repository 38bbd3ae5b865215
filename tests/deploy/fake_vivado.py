"""A program that behaves like `vivado` on the outside: arguments, output, files, exit status.

FAKE_VIVADO chooses what happens; the file `calls` beside the program counts the runs.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

REPORTS = Path(os.environ["FAKE_REPORTS"])
MODE = os.environ.get("FAKE_VIVADO", "success")
COUNT = Path(sys.argv[0]).with_name("calls")


def version() -> None:
    if MODE == "no version":
        print("application-specific initialization failed: libtinfo.so.5 not found")
        sys.exit(1)
    number = "v2019.2" if MODE == "old" else "v2023.1"
    print(f"Vivado {number} (64-bit)\nSW Build 3865809 on Sun May  7 15:04:56 MDT 2023")
    sys.exit(0)


def say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def main() -> None:
    options = sys.argv[1:]
    if options == ["-version"]:
        version()
    assert options[:2] == ["-mode", "batch"], options
    script = Path(options[options.index("-source") + 1])
    run, jobs = options[options.index("-tclargs") + 1 :]
    assert script.is_file()
    assert script.with_name("parameters.tcl").is_file()
    assert int(jobs) > 0
    with COUNT.open("a") as stream:
        stream.write("run\n")
    run = Path(run)
    shutil.rmtree(run, ignore_errors=True)
    out = run / "out"
    out.mkdir(parents=True)
    say("****** Vivado v2023.1 (64-bit)", "fpga-gen: step 1/8: package the accelerator as IP")
    say("WARNING: [IP_Flow 19-5226] Project source file is unused", "CRITICAL WARNING: [BD 41-1] x")
    if MODE == "error":
        say("ERROR: [Common 17-69] Command failed: This cannot be run")
        say("ERROR: [BD 5-216] VLNV <x.com:ip:none:1.0> is not supported for this version")
        say("ERROR: [Common 17-39] 'create_bd_cell' failed due to earlier errors.")
        say("ERROR: [fpga-gen 1-2] ERROR: [Common 17-39] 'create_bd_cell' failed")
        sys.exit(1)
    if MODE == "run error":
        log = run / "project" / "fpga_gen.runs" / "synth_1" / "runme.log"
        log.parent.mkdir(parents=True)
        log.write_text("INFO: [x 1-1] begin\nERROR: [Synth 8-439] module 'lost' not found\n")
        say("ERROR: [Common 17-39] 'wait_on_runs' failed due to earlier errors.")
        say("ERROR: [fpga-gen 1-2] synth_1 ended with 'synth_design ERROR'")
        sys.exit(1)
    if MODE == "own error":
        say("ERROR: [fpga-gen 1-2] the board files of none:x:part0 are not installed")
        sys.exit(1)
    if MODE == "crash":
        say("Abnormal program termination (11)")
        os.kill(os.getpid(), signal.SIGSEGV)
    if MODE == "status":
        sys.exit(3)
    say("fpga-gen: step 6/8: write reports")
    for name, source in (
        ("utilisation.rpt", "utilisation_ultrascale.rpt"),
        ("timing.rpt", "timing_violated.rpt" if MODE == "timing" else "timing_met.rpt"),
        ("power.rpt", "power.rpt"),
    ):
        shutil.copyfile(REPORTS / source, out / name)
    if MODE == "odd report":
        (out / "power.rpt").write_text("nothing that anybody knows\n")
    (out / "facts.txt").write_text("vivado 2023.1\nclock_hz 300000000\n")
    if MODE == "timing":
        say("ERROR: [fpga-gen 1-2] timing is not met at 300000000 Hz: setup slack -0.250 ns")
        sys.exit(1)
    (out / "fpga_gen.bit").write_bytes(b"bitstream " + script.read_bytes()[:20])
    if MODE != "no hwh":
        (out / "fpga_gen.hwh").write_text("<EDKSYSTEM/>")
    say("fpga-gen: complete")


main()
