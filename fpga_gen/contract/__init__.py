"""What every stage agrees on: instructions, registers, numbers, parameters, layouts."""
