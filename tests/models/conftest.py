"""One thread: the networks are tiny here, and waiting threads cost more than they help."""

import sys

import pytest


@pytest.fixture(autouse=True)
def one_torch_thread():
    """Limits torch to one thread where a test module has imported it."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
