"""The command line `fpga-gen`. Sub-commands hold no logic: they call the pipeline and print.

Ctrl-C ends the program with one line and exit code 130 at any time, also while the commands are
being imported, which takes a second, and while Python shuts down.
"""

import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn


def main() -> NoReturn:
    """The console script."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else ignored
    if interruptible:
        signal.signal(signal.SIGINT, _leave)
    _commands()
    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = run(sys.argv[1:])
    if interruptible:  # the work is done, and its exit code stands
        signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code: 0 done, 1 input at fault, 2 usage, 130
    interrupted."""
    return _commands().run(arguments)


def _commands() -> ModuleType:
    """The commands, imported."""
    try:
        import fpga_gen.contract  # noqa: F401 - says so if the runtime is of another version
    except ImportError as error:
        if error.name != "fpga_gen_host":
            raise
        sys.exit(f"fpga-gen: {error}")
    from fpga_gen.cli import group

    return group


def _leave(number: int, _: object) -> NoReturn:
    """Nothing was begun that would have to be undone. An exception would not do: in the middle of
    an import it comes out as another one."""
    os.write(2, b"\nfpga-gen: interrupted\n")  # behind ^C, as click does it
    os._exit(128 + number)
