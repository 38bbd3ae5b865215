"""The tiny board and builds of the tests of the command line."""

from tests.cli.conftest import board_files, built, cli, model, tiny_board

__all__ = ["board_files", "built", "cli", "model", "tiny_board"]
