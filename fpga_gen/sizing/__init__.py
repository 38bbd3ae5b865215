"""Choice of the engine for a model and a board, before quantisation."""
