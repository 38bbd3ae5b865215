"""Small parts that every block uses: RAMs, leaf modules, copies of registers, resets."""
