"""What a training script needs beside fpga-gen, said in one line."""

import sys
from typing import NoReturn


def missing(error: ImportError, module: str) -> NoReturn:
    """Ends the program with one line if `module`, a `__name__`, is the one that runs; otherwise
    raises the error again."""
    if module != "__main__":
        raise error
    sys.exit(f"error: this needs the package {error.name!r}: pip install 'fpga-gen[models]'")
