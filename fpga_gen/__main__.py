"""`python -m fpga_gen` is `fpga-gen`."""

from fpga_gen.cli import main

if __name__ == "__main__":
    main()
