"""Ctrl-C in the processes that tests start."""

import signal


def interruptible() -> None:
    """Before the program of a new process: SIGINT ends it. What a shell starts in the background
    ignores it, and so would the tests' own processes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
