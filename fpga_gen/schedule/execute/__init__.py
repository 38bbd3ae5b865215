"""The program interpreter: executes a program in numpy and refuses hazards."""
