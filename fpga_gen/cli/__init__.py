"""The command line `fpga-gen`. Sub-commands hold no logic: they call the pipeline and print."""

import sys

try:
    import fpga_gen.contract  # noqa: F401 - says so if the runtime is of another version
except ImportError as error:
    if error.name != "fpga_gen_host":
        raise
    sys.exit(f"fpga-gen: {error}")

from fpga_gen.cli.main import main, run

__all__ = ["main", "run"]
