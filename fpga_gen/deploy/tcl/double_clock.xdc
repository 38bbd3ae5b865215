# Paths from the engine's clock (pin clk) to the one of twice its frequency (pin clk_2x) that have
# more than one fast cycle; derived from fpga_gen/hardware/dsp48_double.py. Read with --double-clock
# only, in the scope of the packaged IP.
#
# t is a fast cycle. The engine's registers change at 0, 2t, 4t, ...; without an exception the path
# must be through at t. A setup of N moves that to N * t, a hold of N - 1 leaves the hold check at
# the edge of launch, both counted in the fast clock (UG903, "Multicycles Between SLOW-to-FAST
# Clocks"). What is not named below has one fast cycle: the phase (cycle -> seen, second), all paths
# within the fast clock, and those back to the engine's (waiting, P -> set0, set1).

set engine [get_clocks -of_objects [get_ports clk]]

# Activations -> B. The first register on B has the enable second_half: it loads at 2t, 4t, ... only,
# each time the activation of the edge before.
set activations [get_pins -hierarchical -filter {NAME =~ */dsp_*/mac*/B[*]}]
set_multicycle_path 2 -setup -end -from $engine -through $activations
set_multicycle_path 1 -hold -end -from $engine -through $activations

# Weights -> A and D. They come with `switch`, at 0, and stay. tap0 is high from 2t to 3t, so the
# first enable, that of A in slice 0, is sampled at 3t, all others 2t, 4t, ... later.
set weights [get_pins -hierarchical \
    -filter {NAME =~ */dsp_*/mac*/A[*] || NAME =~ */dsp_*/mac*/D[*]}]
set_multicycle_path 3 -setup -end -from $engine -through $weights
set_multicycle_path 2 -hold -end -from $engine -through $weights

# `switch` -> tap0, which is switch & second_half: zero at t, 3t, ..., whatever switch does.
set taps [get_cells -hierarchical -filter {NAME =~ */dsp_*/tap0_reg}]
set_multicycle_path 2 -setup -end -from $engine -to $taps
set_multicycle_path 1 -hold -end -from $engine -to $taps
