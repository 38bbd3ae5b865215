"""Mapping of the generated Verilog with Yosys: costs, logic depth, fan-out."""
