"""Text from models, files and tools on its way to a terminal: it may say anything, and do nothing.

Names in a model are free text. Raw, they could move the cursor, set the window's title, colour the
screen, turn the direction of writing, pose as a line of ours, or be a megabyte long.
"""

from __future__ import annotations

import unicodedata

from rich.text import Text

MAX_LINE = 4000  # characters: a path has at most 4096 bytes
MAX_LINES = 1000
MAX_CELL = 100  # of a table
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogate, line and paragraph separator


def plain(text: object) -> str:
    """`text` with every character that is no text escaped (`\\x1b`), new lines apart; long lines
    are cut in the middle, and many lines at the end."""
    lines = str(text).split("\n")
    if len(lines) > MAX_LINES:
        left = len(lines) - MAX_LINES
        lines = [*lines[:MAX_LINES], f"... ({left:,} more lines)"]
    return "\n".join(_escape(_shorten(line, MAX_LINE)) for line in lines)


def line(text: object) -> str:
    """Like `plain`, but new lines are escaped too."""
    return _escape(_shorten(str(text), MAX_LINE))


def cell(text: object) -> Text:
    """A cell or title of a table: like `line`, but shorter and without the table's markup."""
    return Text(_escape(_shorten(str(text), MAX_CELL)))


def _shorten(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    mark = f"... ({len(text):,} characters) ..."
    head = max(1, (limit - len(mark)) * 2 // 3)
    tail = max(1, limit - len(mark) - head)
    return text[:head] + mark + text[-tail:]


def _escape(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in UNSAFE else char
        for char in text
    )
