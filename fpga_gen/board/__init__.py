"""The virtual board: the generated accelerator in simulation behind PYNQ.remote's services."""
