"""`python -m fpga_gen` is `fpga-gen`."""

from fpga_gen.cli import main

main()
