"""The command line `fpga-gen`. Sub-commands hold no logic: they call the pipeline and print."""

from fpga_gen.cli.main import main, run

__all__ = ["main", "run"]
