"""The Python interface, which the command line prints: `import fpga_gen`, see its docstring."""
