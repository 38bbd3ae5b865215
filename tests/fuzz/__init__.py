"""Seeded fuzzing of what comes from outside: models, build directories, pictures, programs."""
