"""fpga-gen: compile an ONNX CNN into a bit-exact FPGA accelerator."""

__version__ = "0.1.0"
