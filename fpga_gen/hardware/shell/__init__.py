"""AXI ports, registers, run control, DMA: all that knows the outside."""
