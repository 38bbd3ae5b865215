"""Nothing is skipped because the machine lacks something: the run does not begin."""

from __future__ import annotations

import pytest

from tools.prerequisites import TEST, missing


def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):  # a worker of pytest-xdist: checked before
        return
    line = missing(TEST)
    if line:
        pytest.exit(line, returncode=1)
